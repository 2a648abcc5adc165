"""`forebay status`: how the running daemon is doing."""

import argparse
from collections.abc import Mapping
from typing import Any

from forebay.daemon.cli.admin import Admin, parse
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.output import say, say_bytes, shown
from forebay.daemon.cli.parser import CommandError, Commands, add_json_option
from forebay.daemon.cli.tables import about_duration, about_size, print_table


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add(
        "status",
        run,
        summary="show the buffer and the sinks of the running daemon",
        examples="  forebay status\n  forebay status --json | jq .sinks.sales.lag_events",
    )
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    admin = Admin(configured(args).settings)
    content = admin.get("/v1/status")
    if args.json:
        say_bytes(content)
        return 0
    try:
        _show(parse(content, admin.listen))
    except (KeyError, TypeError, AttributeError):
        raise CommandError(
            f"{admin.listen} answers, but not like this version; --json prints what it says"
        ) from None
    return 0


def _show(status: Mapping[str, Any]) -> None:
    buffer = status["buffer"]
    say(f"forebay {shown(status['version'])}, up {about_duration(status['uptime'])}")
    say(
        f"buffer: {buffer['events']} events, {about_size(buffer['bytes'])} of "
        f"{about_size(buffer['capacity_bytes'])}, oldest "
        f"{about_duration(buffer['oldest_age_seconds'])}\n"
    )
    if buffer.get("fault"):
        say(f"no writes: {shown(buffer['fault'])}\n")
    for name, sink in status.get("abandoned", {}).items():
        say(
            f"{name}: left the configuration; {sink['lag_events']} events wait for it until it "
            f"comes back, or `forebay sinks forget {name}`\n"
        )
    if not status["sinks"]:
        say("no sink is configured")
        return
    print_table(
        ("sink", "type", "state", "lag", "behind", "delivered", "dead letters", "last error"),
        [_row(name, sink) for name, sink in status["sinks"].items()],
    )


def _row(name: str, sink: Mapping[str, Any]) -> tuple[object, ...]:
    error = sink["last_error"]
    return (
        name,
        sink["type"],
        sink["state"],
        sink["lag_events"],
        about_duration(sink["lag_seconds"]),
        sink["delivered"],
        sink["dead_letters"],
        error["message"] if error else "",
    )
