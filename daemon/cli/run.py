"""`forebay run`: the daemon."""

import argparse

from forebay.daemon import logs
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.parser import Commands
from forebay.daemon.settings import secrets


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
    return app.run(settings)
