"""`forebay run`: the daemon. Its start is nine tenths import, which is kept short here."""

import argparse
import gc

from forebay.daemon.cli.parser import Commands, Run


def add(commands: Commands) -> None:
    """Declare the command."""
    commands.add(
        "run",
        run,
        summary="take events and deliver them, until SIGTERM or SIGINT",
        examples="  forebay run\n  forebay run -c forebay.toml\n"
        "  FOREBAY_INGEST__LISTEN=127.0.0.1:5000 forebay run",
    )


def run(args: argparse.Namespace) -> int:
    return _imported()(args)


def _imported() -> Run:
    """The daemon, which the list of commands can do without."""
    # What is imported stays. To look for garbage in it takes a tenth of the start, and each time
    # that it were done later no request would be answered for 30 ms.
    gc.disable()
    from forebay.daemon.cli.serving import serve  # noqa: PLC0415  see above

    gc.freeze()
    gc.enable()
    return serve
