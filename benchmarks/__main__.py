"""`make bench`: every benchmark, one table; as JSON in .run/bench.json, in docs/performance.md.

`python -m benchmarks NAME…` runs some of them alone, and leaves the document as it is.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks import (
    collected,
    curves,
    drain,
    footprint,
    hanging_sink,
    idle,
    ingest,
    peers,
    steady,
    three_ways,
)
from benchmarks import machine as bare_machine
from benchmarks.document import update
from benchmarks.report import Row, keep, machine, show

BENCHMARKS: dict[str, Callable[[], Awaitable[list[Row]]]] = {
    "machine": bare_machine.run,
    "ingest": ingest.run,
    "peers": peers.run,
    "hanging_sink": hanging_sink.run,
    "drain": drain.run,
    "footprint": footprint.run,
    "steady": steady.run,
    "idle": idle.run,
    "three_ways": three_ways.run,
    "collected": collected.run,
    "curves": curves.run,
}


async def measure(names: list[str]) -> list[Row]:
    """Run benchmarks one after another: nothing else runs meanwhile."""
    rows: list[Row] = []
    for name in names:
        began = time.monotonic()
        rows += await BENCHMARKS[name]()
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    where = machine(Path(tempfile.gettempdir()))
    # So that the programs under test are ended too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    rows = uvloop.run(measure(names or list(BENCHMARKS)))
    show(rows, ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in where.items()))
    keep(rows, where, Path(".run/bench.json"))
    if not names:
        update(rows, where)


if __name__ == "__main__":
    main()
