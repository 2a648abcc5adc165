"""What `forebay run` does; everything that the daemon consists of is imported with this module."""

import argparse
import os
from functools import partial

from forebay.daemon import app, logs
from forebay.daemon.cli.configured import configured
from forebay.daemon.settings import Settings, load, secrets


def serve(args: argparse.Namespace) -> int:
    """Run the daemon to its end; the exit status."""
    settings = configured(args).settings
    logs.configure(settings.log, secrets(settings))
    return app.run(settings, partial(_read_again, args))


def _read_again(args: argparse.Namespace) -> Settings:
    """The settings as they are now; what they say about the log holds from here on."""
    settings = load(args.config, os.environ).settings
    logs.configure(settings.log, secrets(settings))
    return settings
