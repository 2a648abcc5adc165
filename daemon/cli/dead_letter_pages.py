"""What the commands about dead letters share: pages of them, filters, and a bar on a terminal."""

import argparse
import sys
from typing import Generic, TypeVar
from urllib.parse import urlencode

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from forebay.daemon.cli.admin import Admin
from forebay.daemon.cli.parser import CommandError

MOST_LISTED = 1000
"""The most dead letters of one request."""

T = TypeVar("T")


class Letter(msgspec.Struct, frozen=True):
    """A dead letter as the API gives it; times are ISO 8601."""

    id: int
    sink: str
    stream: str
    seq: int
    received_at: str
    failed_at: str
    attempts: int
    status: int | None
    error: str
    event: msgspec.Raw
    attributes: dict[str, str] | None = None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """What a list answers; `next` is where the next page begins."""

    items: list[T]
    next: int | None


class _Kept(msgspec.Struct, frozen=True):
    dead_letters: int = 0


class _Status(msgspec.Struct, frozen=True):
    sinks: dict[str, _Kept]


def decoded(content: bytes, kind: type[T], listen: str) -> T:
    """An answer as what it should be."""
    try:
        return msgspec.json.decode(content, type=kind)
    except ValueError:  # msgspec's errors are ValueErrors
        raise CommandError(f"{listen} answers, but not like this version of forebay") from None


def add_filters(parser: argparse.ArgumentParser, *, sink_required: bool = False) -> None:
    """The options that say which dead letters are meant."""
    parser.add_argument(
        "--sink", metavar="SINK", required=sink_required, help="only those of this sink"
    )
    parser.add_argument("--stream", metavar="STREAM", help="only those of this stream")


def list_path(args: argparse.Namespace, *, after: int, limit: int) -> str:
    """The path of one page, filtered as the options say."""
    query = {"after": after, "limit": limit, "sink": args.sink, "stream": args.stream}
    given = {name: value for name, value in query.items() if value is not None}
    return f"/v1/dead-letters?{urlencode(given)}"


def kept(admin: Admin, args: argparse.Namespace) -> int | None:
    """How many dead letters the filters mean; None where nobody has counted them."""
    if args.stream is not None:
        return None
    sinks = decoded(admin.get("/v1/status"), _Status, admin.listen).sinks
    if args.sink is None:
        return sum(sink.dead_letters for sink in sinks.values())
    return sinks[args.sink].dead_letters if args.sink in sinks else None


def bar() -> Progress:
    """A bar on the terminal; nothing where there is none."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
