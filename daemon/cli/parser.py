"""How commands are declared: `add(commands)` in each command's module."""

import argparse
from collections.abc import Callable
from pathlib import Path

Run = Callable[[argparse.Namespace], int]
"""Runs a command and returns the exit status."""


class CommandError(Exception):
    """The command cannot do what it was asked to; the message is the line to print."""

    status = 1


class MistakesError(CommandError):
    """The settings cannot be used; the message has one line a mistake, each with its place."""


class UsageError(CommandError):
    """The command was called in a wrong way."""

    status = 2


def add_config_option(parser: argparse.ArgumentParser, default: object) -> None:
    """The option -c, which every command takes as the program itself does."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        default=default,
        help="TOML file to read instead of $FOREBAY_CONFIG or /etc/forebay/forebay.toml",
    )


class Commands:
    """The commands below a parser."""

    def __init__(self, parser: argparse.ArgumentParser, *, required: bool = True) -> None:
        self._subparsers = parser.add_subparsers(metavar="COMMAND", required=required)

    def add(self, name: str, run: Run, *, summary: str, examples: str) -> argparse.ArgumentParser:
        """One more command, whose own arguments are the caller's to add."""
        parser = self.group(name, summary=summary, examples=examples)
        # Absent here, the option must not undo the one before the command.
        add_config_option(parser, default=argparse.SUPPRESS)
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, *, summary: str, examples: str) -> argparse.ArgumentParser:
        """A command that only has commands of its own, made with `Commands(group)`."""
        return self._subparsers.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """The option of every command that prints for a person."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
