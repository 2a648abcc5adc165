"""`forebay emulate powerbi`: a Power BI on this machine, to learn and to test with."""

import argparse
import asyncio
import contextlib
import signal
import sys

from pydantic import ValidationError

from forebay.daemon.cli.output import say
from forebay.daemon.cli.parser import CommandError, Commands, UsageError
from forebay.daemon.settings import parse_address
from forebay.daemon.settings.mistakes import from_pydantic
from forebay.daemon.settings.render import toml_value
from forebay.daemon.settings.schema import as_value, is_table, members
from forebay.sinks.powerbi.emulator import Emulator, EmulatorOptions

_EXAMPLES = """\
  forebay emulate powerbi
  forebay emulate powerbi --listen 127.0.0.1:4690 --requests-per-minute 10 --minute 5s"""
_ADDRESSES = """\
Power BI emulator on {url}; Ctrl-C ends it. Nothing in it reaches the network.

A sink that sends to it:

    [sinks.demo]
    type = "powerbi"
    push_url = "{push_url}"

What it holds:

    curl {url}/_/tables
    curl '{url}/_/rows?dataset=demo&table=RealTimeData'
"""


def add(commands: Commands) -> None:
    """Declare the command."""
    group = commands.group(
        "emulate", summary="serve an emulator of a sink's other side", examples=_EXAMPLES
    )
    parser = Commands(group).add(
        "powerbi",
        run,
        summary="serve a Power BI emulator that enforces the documented limits",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:4690", help="address to serve on (127.0.0.1:4690)"
    )
    options = parser.add_argument_group("what it enforces")
    for name, field in EmulatorOptions.model_fields.items():
        kinds = list(members(field.annotation))
        default = field.get_default(call_default_factory=True)
        options.add_argument(
            _flag(name),
            dest=f"option_{name}",
            metavar="JSON" if any(map(is_table, kinds)) else "VALUE",
            help=f"{field.description} Default: {toml_value(default)}".replace("%", "%%"),
        )


def run(args: argparse.Namespace) -> int:
    try:
        host, port = parse_address(args.listen)
    except ValueError as error:
        raise UsageError(f"--listen {error}") from None
    # asyncio turns the first Ctrl-C into a cancellation, and raises this at the end.
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Emulator(_options(args)), host, port))
    return 0


def _options(args: argparse.Namespace) -> EmulatorOptions:
    given = {
        name: getattr(args, f"option_{name}")
        for name in EmulatorOptions.model_fields
        if getattr(args, f"option_{name}") is not None
    }
    faults = []
    for name, text in given.items():
        try:
            given[name] = as_value(
                text, list(members(EmulatorOptions.model_fields[name].annotation))
            )
        except ValueError as error:
            faults.append(f"{_flag(name)} {error}")
    if faults:
        raise UsageError("\n".join(faults))
    try:
        return EmulatorOptions(**given)
    except ValidationError as error:
        found = from_pydantic(error, given, {})
        raise UsageError("\n".join(f"{_flag(str(m.path[0]))} {m.what}" for m in found)) from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


async def _serve(emulator: Emulator, host: str, port: int) -> None:
    try:
        await emulator.start(host, port)
    except OSError as error:
        raise CommandError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    try:
        say(_ADDRESSES.format(url=emulator.url, push_url=emulator.push_url("demo")))
        sys.stdout.flush()
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
    finally:
        await emulator.close()
