"""What the machine itself can do: what the other figures are to be judged by."""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.booking import JSON, bodies, lines
from benchmarks.load import closed_loop
from benchmarks.processes import program
from benchmarks.report import Row

SECONDS, ROUNDS = 1, 3
SEGMENT = 1000
"""Events in a segment."""


async def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as temporary:
        disk = _disk(Path(temporary))
    return [*disk, await _echo(1), await _echo(64)]


def commits(directory: Path, seconds: float, row: bytes) -> float:
    """Commits a second of one row each by bare sqlite3: WAL, synchronous=FULL, all else default."""
    with tempfile.TemporaryDirectory(dir=directory) as inner:
        database = sqlite3.connect(Path(inner, "bare.db"), isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, data BLOB)")
        try:
            return per_second(
                lambda: database.execute("INSERT INTO events (data) VALUES (?)", (row,)), seconds
            )
        finally:
            database.close()


def syncs(directory: Path, seconds: float, data: bytes) -> float:
    """How often a second `data` can be appended to a file and brought to the disk."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:

        def append() -> None:
            file.write(data)
            os.fdatasync(file.fileno())

        return per_second(append, seconds)


def per_second(do: Callable[[], object], seconds: float) -> float:
    """How often that can be done."""
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        do()
        done += 1
    return done / (time.perf_counter() - began)


def _disk(directory: Path) -> list[Row]:
    event, segment = lines(1), lines(SEGMENT)
    found = [
        (
            commits(directory, SECONDS, event),
            commits(directory, SECONDS, segment),
            syncs(directory, SECONDS, event),
            syncs(directory, SECONDS, segment),
        )
        for _ in range(ROUNDS)
    ]
    whats = (
        "the machine: sqlite3 commits of one event, fsync",
        f"the machine: sqlite3 commits of {SEGMENT} events in one row, fsync",
        "the machine: write + fdatasync of one event",
        f"the machine: write + fdatasync of {SEGMENT} events",
    )
    return [
        Row(what, "/s", figures)
        for what, figures in zip(whats, zip(*found, strict=True), strict=True)
    ]


async def _echo(connections: int) -> Row:
    singles = bodies(1, different=1000)
    async with program("echo") as echo:
        found = [
            await closed_loop(echo.port, singles, JSON, connections, SECONDS) for _ in range(ROUNDS)
        ]
    return Row(
        f"the machine: uvloop answers POSTs unread, connections: {connections}",
        "requests/s",
        [one.per_second for one in found],
        note=f"the load generator took {max(one.generator for one in found):.0%} of a core",
    )
