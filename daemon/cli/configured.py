"""The settings that the command line asks for."""

import argparse
import os

from forebay.daemon.cli.parser import MistakesError
from forebay.daemon.settings import Loaded, SettingsError, load


def configured(args: argparse.Namespace) -> Loaded:
    """The settings of -c, or of the places that are looked into without it."""
    try:
        return load(args.config, os.environ)
    except SettingsError as error:
        raise MistakesError(str(error)) from None
