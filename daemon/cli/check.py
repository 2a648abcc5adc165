"""`forebay check`: the settings, without starting anything."""

import argparse
import ipaddress
from collections.abc import Iterator

from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.output import say
from forebay.daemon.cli.parser import Commands
from forebay.daemon.ingest.options import Unrouted
from forebay.daemon.settings import Settings, parse_address


def add(commands: Commands) -> None:
    """Declare the command."""
    commands.add(
        "check",
        run,
        summary="validate the settings of all sources without starting; every mistake is a line",
        examples="  forebay check\n  forebay check -c forebay.toml",
    )


def run(args: argparse.Namespace) -> int:
    loaded = configured(args)
    for note in notes(loaded.settings):
        say(f"note: {note}")
    count = len(loaded.settings.sinks)
    say(f"{loaded.file or 'no file, built-in defaults'}: fine, {count} sink{'s' * (count != 1)}")
    return 0


def notes(settings: Settings) -> Iterator[str]:
    """What is allowed, but may not be meant."""
    if not settings.sinks and settings.ingest.unrouted is Unrouted.REJECT:
        yield (
            "no sink is configured, so every event is refused with 404; add a table like "
            '[sinks.sales], or set ingest.unrouted = "store" to keep events'
        )
    for name, part in (("ingest", settings.ingest), ("admin", settings.admin)):
        if part.listen and not part.token.get_secret_value() and not _is_local(part.listen):
            yield f"{name}.listen is open to other machines and {name}.token is not set"


def _is_local(listen: str) -> bool:
    host, _ = parse_address(listen)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
