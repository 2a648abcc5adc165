"""What the daemon does while nothing happens: it must not poll."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backlog import arrival, delivered, put_in, table
from benchmarks.processes import forebay, http_sink, program
from benchmarks.report import Row, Target

EVENTS = 10_000
SECONDS = 20.0
_SETTLE = 3.0


@dataclass(frozen=True)
class Activity:
    """Of all threads that live, since they began: CPU seconds (to the nanosecond), wake-ups."""

    cpu: float
    wakes: int

    def __sub__(self, before: "Activity") -> "Activity":
        return Activity(self.cpu - before.cpu, self.wakes - before.wakes)


def activity(pid: int) -> Activity:
    """Look now. A wake-up is the end of a wait that a thread went into by itself."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    cpu = sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in tasks)
    statuses = [task.joinpath("status").read_text() for task in tasks]
    return Activity(cpu / 1e9, sum(map(_voluntary, statuses)))


def _voluntary(status: str) -> int:
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


async def run() -> list[Row]:
    async with program("sink") as sink, forebay(table(http_sink(sink))) as daemon:
        await put_in(daemon, EVENTS)
        await arrival(sink, EVENTS)
        await delivered(daemon, sink, EVENTS)
        await asyncio.sleep(_SETTLE)
        began, before = time.perf_counter(), activity(daemon.pid)
        await asyncio.sleep(SECONDS)
        used, took = activity(daemon.pid) - before, time.perf_counter() - began
    return [
        Row("CPU while idle", "% of a core", [used.cpu / took * 100], target=Target(at_most=0.5)),
        Row("wake-ups while idle", "a second", [used.wakes / took]),
    ]
