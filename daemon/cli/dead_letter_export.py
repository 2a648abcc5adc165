"""`forebay dead-letters export`: all of them as NDJSON, one dead letter a line."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from forebay.daemon.cli.admin import Admin
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.dead_letter_pages import (
    MOST_LISTED,
    Page,
    add_filters,
    bar,
    decoded,
    kept,
    list_path,
)
from forebay.daemon.cli.output import say
from forebay.daemon.cli.parser import CommandError, Commands


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add(
        "export",
        run,
        summary="write dead letters as NDJSON, one a line, with all their fields",
        examples="  forebay dead-letters export --sink sales letters.ndjson\n"
        "  forebay dead-letters export | jq -c .event",
    )
    add_filters(parser)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="a new file; - is standard output"
    )


def run(args: argparse.Namespace) -> int:
    admin, count = Admin(configured(args).settings), 0
    with _opened(args.file) as file, bar() as progress:
        task = progress.add_task("export", total=kept(admin, args))
        for items in _pages(admin, args):
            file.writelines(bytes(item) + b"\n" for item in items)
            count += len(items)
            progress.advance(task, len(items))
    if args.file != "-":
        say(f"{args.file}: {count} dead letter{'s' * (count != 1)}")
    return 0


def _pages(admin: Admin, args: argparse.Namespace) -> Iterator[list[msgspec.Raw]]:
    """Each letter as the API gives it: its event's bytes are those that came."""
    after: int | None = 0
    while after is not None:
        content = admin.get(list_path(args, after=after, limit=MOST_LISTED))
        page = decoded(content, Page[msgspec.Raw], admin.listen)
        yield page.items
        after = page.next


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """Where to write. A file is there as a whole, on disk, or not at all: a purge may follow."""
    if name == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    try:
        file = path.open("xb")
    except FileExistsError:
        raise CommandError(f"{name}: is there already; name a new file") from None
    except OSError as error:
        raise CommandError(f"{name}: cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CommandError(f"{name}: cannot be written: {error.strerror}") from None
        raise
