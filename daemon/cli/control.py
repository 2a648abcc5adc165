"""`forebay pause`, `resume` and `probe`: one sink of the running daemon."""

import argparse
from functools import partial
from urllib.parse import quote

from forebay.daemon.cli.admin import Admin
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.output import say, say_bytes
from forebay.daemon.cli.parser import Commands, add_json_option

_VERBS = {
    "pause": ("stop sending to a sink; its events wait in the buffer", "paused"),
    "resume": ("send to a paused sink again", "resumed"),
    "probe": ("try one send now to a sink that is held or whose breaker is open", "probing"),
}


def add(commands: Commands) -> None:
    """Declare the commands."""
    for verb, (summary, done) in _VERBS.items():
        parser = commands.add(
            verb,
            partial(run, verb=verb, done=done),
            summary=summary,
            examples=f"  forebay {verb} sales",
        )
        parser.add_argument("sink", metavar="SINK", help="name of the sink")
        add_json_option(parser)


def run(args: argparse.Namespace, *, verb: str, done: str) -> int:
    admin = Admin(configured(args).settings)
    content = admin.post(f"/v1/sinks/{quote(args.sink, safe='')}/{verb}")
    if args.json:
        say_bytes(content)
    else:
        say(f"{args.sink}: {done}")
    return 0
