"""`forebay version`."""

import argparse
import platform
import sqlite3
from importlib.metadata import version

from forebay.daemon.cli.output import say
from forebay.daemon.cli.parser import Commands


def add(commands: Commands) -> None:
    """Declare the command."""
    commands.add(
        "version",
        run,
        summary="print the version, and those of Python and SQLite",
        examples="  forebay version",
    )


def run(_args: argparse.Namespace) -> int:
    python, sqlite = platform.python_version(), sqlite3.sqlite_version
    say(f"forebay {version('forebay')} (Python {python}, SQLite {sqlite})")
    return 0
