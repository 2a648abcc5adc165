"""`forebay sinks`: what is configured, and what could be."""

import argparse
import json
from urllib.parse import quote

from forebay.daemon.cli.admin import Admin, parse
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.output import say, say_bytes
from forebay.daemon.cli.parser import Commands, add_json_option
from forebay.daemon.cli.tables import print_table
from forebay.sinks.registry import SINKS


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add(
        "sinks",
        run,
        summary="list the configured sinks and the types that there are",
        examples="  forebay sinks\n  forebay sinks --json",
    )
    add_json_option(parser)
    forgetting = Commands(parser, required=False).add(
        "forget",
        forget,
        summary="let go of a sink that left the configuration, with all that waits for it",
        examples="  forebay sinks forget sales",
    )
    forgetting.add_argument("sink", metavar="SINK", help="name of the sink")
    add_json_option(forgetting)


def forget(args: argparse.Namespace) -> int:
    """The running daemon lets go of it."""
    admin = Admin(configured(args).settings)
    content = admin.post(f"/v1/sinks/{quote(args.sink, safe='')}/forget")
    if args.json:
        say_bytes(content)
    else:
        report = parse(content, admin.listen)
        say(
            f"{args.sink}: forgotten, with {report['forgotten_events']} events that waited for it "
            f"and {report['forgotten_dead_letters']} dead letters"
        )
    return 0


def run(args: argparse.Namespace) -> int:
    sinks = [
        {
            "name": name,
            "type": sink.type,
            "streams": list(sink.delivery.streams),
            "start": sink.delivery.start.value,
            "order": sink.delivery.order.value,
        }
        for name, sink in configured(args).settings.sinks.items()
    ]
    if args.json:
        say(json.dumps({"sinks": sinks, "types": sorted(SINKS)}))
        return 0
    if sinks:
        headings = ("name", "type", "streams", "start", "order")
        print_table(
            headings,
            [
                ["  ".join(sink["streams"]) if key == "streams" else sink[key] for key in headings]
                for sink in sinks
            ],
        )
    else:
        say("no sink is configured")
    say(f"\nknown types: {', '.join(sorted(SINKS))}")
    return 0
