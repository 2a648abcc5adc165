"""`forebay reload`: the running daemon takes the changed configuration over."""

import argparse

from forebay.daemon.cli.admin import Admin, parse
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.output import say, say_bytes
from forebay.daemon.cli.parser import Commands, add_json_option

_DONE = {
    "added": "added",
    "changed": "changed",
    "removed": "removed; what waits for it stays until `forebay sinks forget`",
    "needs_restart": "differs, and needs a restart",
}


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add(
        "reload",
        run,
        summary="let the running daemon take over the changed configuration (like SIGHUP)",
        examples="  forebay check && forebay reload",
    )
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    admin = Admin(configured(args).settings)
    content = admin.post("/v1/reload")
    if args.json:
        say_bytes(content)
        return 0
    report = parse(content, admin.listen)
    lines = [f"{name}: {text}" for key, text in _DONE.items() for name in report.get(key, ())]
    say("\n".join(lines) or "nothing has changed")
    return 0
