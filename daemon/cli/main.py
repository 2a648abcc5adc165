"""The command `forebay`: finds the command that is meant, runs it, and turns errors into statuses.

0 fine · 1 the thing asked about is bad · 2 wrong usage · 130 interrupted
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from forebay.daemon.cli.output import complain
from forebay.daemon.cli.parser import CommandError, Commands, MistakesError, add_config_option

_INTERRUPTED = 130

# Command and module. Only the module of the command that is called is imported.
COMMANDS = {
    "run": "run",
    "check": "check",
    "config": "config",
    "status": "status",
    "sinks": "sinks",
    "reload": "reload",
    "pause": "control",
    "resume": "control",
    "probe": "control",
    "dead-letters": "dead_letters",
    "send": "send",
    "emulate": "emulate",
    "version": "version",
}


class _Module(Protocol):
    def add(self, commands: Commands) -> None: ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: the process's) and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(arguments).parse_args(arguments)
        status = int(args.run(args))
        sys.stdout.flush()
    except CommandError as error:
        prefix = "" if isinstance(error, MistakesError) else "forebay: "
        complain(f"{prefix}{error}")
        return error.status
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="forebay",
        description="Takes events on localhost, keeps them on disk, and feeds Power BI and other "
        "sinks.",
        epilog="forebay COMMAND --help tells more about a command.",
        allow_abbrev=False,
    )
    add_config_option(parser, default=None)
    commands = Commands(parser)
    meant = _meant(arguments)
    for module in dict.fromkeys([COMMANDS[meant]] if meant else COMMANDS.values()):
        cast("_Module", import_module(f"forebay.daemon.cli.{module}")).add(commands)
    return parser


def _meant(arguments: list[str]) -> str | None:
    """The command, where it is plain; None for help, mistakes and everything else."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    add_config_option(parser, default=None)
    parser.add_argument("command", nargs="?")
    try:
        known, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        return None
    command = known.command
    return command if isinstance(command, str) and command in COMMANDS else None
