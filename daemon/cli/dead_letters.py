"""`forebay dead-letters`: what the sinks will not take, to be looked at, sent again or deleted."""

import argparse
import shlex
from collections.abc import Iterator

from forebay.daemon.cli import dead_letter_changes, dead_letter_export
from forebay.daemon.cli.admin import Admin
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.dead_letter_pages import (
    MOST_LISTED,
    Letter,
    Page,
    add_filters,
    decoded,
    list_path,
)
from forebay.daemon.cli.output import say, say_bytes, shown
from forebay.daemon.cli.parser import Commands, add_json_option
from forebay.daemon.cli.tables import print_table

_HEADINGS = ("id", "sink", "stream", "seq", "failed at (UTC)", "attempts", "status", "error")
_EXAMPLES = """\
  forebay dead-letters ls --sink sales
  forebay dead-letters show 17
  forebay dead-letters export --sink sales letters.ndjson
  forebay dead-letters replay --sink sales --id 17 18
  forebay dead-letters replay --sink sales --all
  forebay dead-letters purge --sink sales --stream refunds --all"""


def add(commands: Commands) -> None:
    """Declare the commands."""
    group = commands.group(
        "dead-letters",
        summary="look at what the sinks will not take, send it again, or delete it",
        examples=_EXAMPLES,
    )
    inner = Commands(group)
    _add_ls(inner)
    _add_show(inner)
    dead_letter_changes.add(inner)
    dead_letter_export.add(inner)


def _add_ls(commands: Commands) -> None:
    parser = commands.add(
        "ls",
        list_letters,
        summary="list dead letters, the oldest ids first",
        examples="  forebay dead-letters ls\n"
        "  forebay dead-letters ls --sink sales --json | jq .items[].error",
    )
    add_filters(parser)
    parser.add_argument(
        "--limit", type=_limit, default=100, metavar="N", help="at most so many, 1 to 1000 (100)"
    )
    parser.add_argument(
        "--after", type=int, default=0, metavar="ID", help="only those with a greater id"
    )
    add_json_option(parser)


def _limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_LISTED:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST_LISTED}")
    return number


def list_letters(args: argparse.Namespace) -> int:
    admin = Admin(configured(args).settings)
    content = admin.get(list_path(args, after=args.after, limit=args.limit))
    if args.json:
        say_bytes(content)
        return 0
    page = decoded(content, Page[Letter], admin.listen)
    if not page.items:
        say("no dead letters")
        return 0
    print_table(_HEADINGS, map(_row, page.items))
    if page.next is not None:
        say(f"\nmore with: {_more(args, page.next)}")
    return 0


def _row(letter: Letter) -> tuple[object, ...]:
    return (
        letter.id,
        letter.sink,
        letter.stream,
        letter.seq,
        letter.failed_at[:19].replace("T", " "),
        letter.attempts,
        "" if letter.status is None else letter.status,
        letter.error,
    )


def _more(args: argparse.Namespace, after: int) -> str:
    words = ["forebay", "dead-letters", "ls", "--limit", str(args.limit), "--after", str(after)]
    for name in ("sink", "stream"):
        if value := getattr(args, name):
            words += [f"--{name}", value]
    return shlex.join(words)


def _add_show(commands: Commands) -> None:
    parser = commands.add(
        "show",
        show,
        summary="show one dead letter, with its event",
        examples="  forebay dead-letters show 17\n"
        "  forebay dead-letters show 17 --json | jq .event",
    )
    parser.add_argument("id", metavar="ID", type=int, help="as `ls` shows it")
    add_json_option(parser)


def show(args: argparse.Namespace) -> int:
    admin = Admin(configured(args).settings)
    content = admin.get(f"/v1/dead-letters/{args.id}")
    if args.json:
        say_bytes(content)
        return 0
    for name, value in _fields(decoded(content, Letter, admin.listen)):
        say(f"{name:<12}{shown(value)}")
    return 0


def _fields(letter: Letter) -> Iterator[tuple[str, object]]:
    """What a person reads, the event last and as it came."""
    for name in ("id", "sink", "stream", "seq", "received_at", "failed_at", "attempts"):
        yield name.replace("_", " "), getattr(letter, name)
    yield "status", "-" if letter.status is None else letter.status
    yield "error", letter.error
    for name, value in (letter.attributes or {}).items():
        yield "attribute", f"{name}: {value}"
    yield "event", bytes(letter.event).decode()
