"""`forebay run`: the daemon."""

import argparse
import os
from functools import partial

from forebay.daemon import logs
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.parser import Commands
from forebay.daemon.settings import Settings, load, secrets


def add(commands: Commands) -> None:
    """Declare the command."""
    commands.add(
        "run",
        run,
        summary="take events and deliver them, until SIGTERM or SIGINT",
        examples="  forebay run\n  forebay run -c forebay.toml\n"
        "  FOREBAY_INGEST__LISTEN=127.0.0.1:5000 forebay run",
    )


def run(args: argparse.Namespace) -> int:
    # Every server and sink comes with it, which the list of commands can do without.
    from forebay.daemon import app  # noqa: PLC0415

    settings = configured(args).settings
    logs.configure(settings.log, secrets(settings))
    return app.run(settings, partial(_read_again, args))


def _read_again(args: argparse.Namespace) -> Settings:
    """The settings as they are now; what they say about the log holds from here on."""
    settings = load(args.config, os.environ).settings
    logs.configure(settings.log, secrets(settings))
    return settings
