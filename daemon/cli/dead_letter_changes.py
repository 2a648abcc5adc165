"""`forebay dead-letters replay` and `purge`: sent again, or deleted for good."""

import argparse
import json
import sys
from functools import partial
from typing import Any

import msgspec

from forebay.daemon.cli.admin import Admin
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.dead_letter_pages import MOST_LISTED, add_filters, bar, decoded, kept
from forebay.daemon.cli.output import complain, say, shown
from forebay.daemon.cli.parser import CommandError, Commands, UsageError, add_json_option

_VERBS = {
    "replay": ("put dead letters back in line, for their own sink alone", "replayed"),
    "purge": ("delete dead letters for good", "purged"),
}


class Changed(msgspec.Struct, frozen=True):
    """What the API answers."""

    replayed: int = 0
    purged: int = 0
    next: int | None = None

    @property
    def letters(self) -> int:
        """How many were changed."""
        return self.replayed + self.purged


def add(commands: Commands) -> None:
    """Declare the commands."""
    for verb, (summary, done) in _VERBS.items():
        parser = commands.add(
            verb,
            partial(run, verb=verb, done=done),
            summary=summary,
            examples=f"  forebay dead-letters {verb} --sink sales --id 17 18\n"
            f"  forebay dead-letters {verb} --sink sales --stream refunds --all",
        )
        add_filters(parser, sink_required=True)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--all", action="store_true", help="all that the filters leave")
        which.add_argument(
            "--id", dest="ids", type=int, nargs="+", action="extend", metavar="ID", help="these"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask")
        add_json_option(parser)


def run(args: argparse.Namespace, *, verb: str, done: str) -> int:
    admin = Admin(configured(args).settings)
    if verb == "purge" and args.all and not args.yes:
        _confirm(admin, args)
    change = partial(_change, admin, verb, args)
    count = _all(admin, args, change, done) if args.all else change(ids=args.ids).letters
    say(json.dumps({done: count}) if args.json else f"{shown(args.sink)}: {count} {done}")
    missing = 0 if args.all else len(set(args.ids)) - count
    if missing:
        complain(
            f"forebay: {missing} of these ids are no dead letters of this sink now: purged, or "
            "back in line"
        )
    return int(missing > 0)


def _change(admin: Admin, verb: str, args: argparse.Namespace, **which: Any) -> Changed:
    body = {"sink": args.sink, **which}
    if args.stream is not None:
        body["stream"] = args.stream
    return decoded(admin.post(f"/v1/dead-letters/{verb}", body), Changed, admin.listen)


def _all(admin: Admin, args: argparse.Namespace, change: "partial[Changed]", done: str) -> int:
    """Page by page, so that it can be seen to go on. What comes back meanwhile is not taken again:
    it has an id that was passed.
    """
    count, after = 0, 0
    with bar() as progress:
        task = progress.add_task(args.sink, total=kept(admin, args))
        try:
            while True:
                changed = change(all=True, limit=MOST_LISTED, after=after)
                count += changed.letters
                progress.advance(task, changed.letters)
                if changed.next is None:
                    return count
                after = changed.next
        except CommandError as error:
            if not count:
                raise
            raise CommandError(f"{error}; before that, {count} were {done}") from None


def _confirm(admin: Admin, args: argparse.Namespace) -> None:
    if not sys.stdin.isatty():
        raise UsageError("purge --all deletes for good: add --yes where nobody can be asked")
    count = kept(admin, args)
    what = "all dead letters" if count is None else f"{count} dead letter{'s' * (count != 1)}"
    where = f" of stream {shown(args.stream)}" if args.stream else ""
    sys.stderr.write(f"Delete {what}{where} of {shown(args.sink)} for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was purged")
