"""`make bench`: every benchmark, one table; as JSON in .run/bench.json."""

import os
import platform
import tempfile
from pathlib import Path

import uvloop

from benchmarks import hanging_sink, report


async def measure() -> list[report.Row]:
    return await hanging_sink.run()


def main() -> None:
    rows = uvloop.run(measure())
    where = f"{os.cpu_count()} cores, {platform.machine()}, files in {tempfile.gettempdir()}"
    report.show(rows, where)
    report.keep(rows, Path(".run/bench.json"))


if __name__ == "__main__":
    main()
