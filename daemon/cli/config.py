"""`forebay config`: the effective settings."""

import argparse

from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.output import say
from forebay.daemon.cli.parser import Commands
from forebay.daemon.settings.render import render


def add(commands: Commands) -> None:
    """Declare the command."""
    commands.add(
        "config",
        run,
        summary="print the effective settings as TOML, secrets masked, with where each came from",
        examples="  forebay config\n  forebay config -c forebay.toml | grep environment",
    )


def run(args: argparse.Namespace) -> int:
    say(render(configured(args)).rstrip("\n"))
    return 0
