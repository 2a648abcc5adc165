"""How fast events are taken, each answered after an fsync, and how long an answer takes.

Beside a web handler that stores nothing, and beside what SQLite itself can do.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import machine
from benchmarks.booking import JSON, NDJSON, bodies, lines
from benchmarks.load import Latencies, Throughput, closed_loop, open_loop, post
from benchmarks.proc import Usage
from benchmarks.processes import WAIT, Forebay, forebay, http_sink, program
from benchmarks.report import Row, Target

SECONDS, ROUNDS = 3, 3
NOOP = "aiohttp handler that stores nothing"

PER_SECOND = 500.0
PACED = 3_500
"""Requests a round at that rate."""
BULK_PER_SECOND = 10.0
"""Bodies of 1000 events, sent beside them where segments are to be trimmed."""


@dataclass(frozen=True)
class Load:
    """A closed loop on a number of connections."""

    what: str
    unit: str
    bodies: Sequence[bytes]
    content_type: str
    events: int
    """In each body."""
    connections: int

    async def on(self, port: int) -> Throughput:
        """Put it on a server, for one round."""
        return await closed_loop(port, self.bodies, self.content_type, self.connections, SECONDS)


def singles(connections: int) -> Load:
    """Events one by one, as an application posts them."""
    name = "1 connection" if connections == 1 else f"{connections} connections"
    return Load(
        f"single-event POSTs, {name}", "requests/s", bodies(1, different=1000), JSON, 1, connections
    )


def in_lines(events: int = 1000) -> Load:
    """NDJSON bodies."""
    return Load(
        f"NDJSON bodies of {events:,}", "events/s", bodies(events, NDJSON), NDJSON, events, 4
    )


def in_arrays(events: int = 1000) -> Load:
    """Bodies that are a JSON array."""
    return Load(f"JSON arrays of {events:,}", "events/s", bodies(events, JSON), JSON, events, 4)


async def run() -> list[Row]:
    return [
        await _beside_noop(singles(64), Target(at_least=2.0)),
        await _beside_sqlite(singles(1), Target(at_least=0.5)),
        await _beside_noop(in_lines(), Target(at_least=0.35)),
        await _beside_noop(in_arrays(), Target(at_least=0.2)),
        await _while_feeding(in_lines()),
        *await _answers("hang", "sink hanging", bulk=False),
        *await _answers(
            "count", f"trims, {BULK_PER_SECOND * 1000:,.0f} events/s beside", bulk=True
        ),
    ]


async def _beside_noop(load: Load, target: Target) -> Row:
    async with (
        program("sink", "hang") as sink,
        program("noop") as noop,
        forebay({"bench": http_sink(sink)}) as daemon,
    ):
        ours, theirs, before = [], [], daemon.usage()
        for _ in range(ROUNDS):
            ours.append(await load.on(daemon.port))
            theirs.append(await load.on(noop.port))
        used = daemon.usage() - before
    note = f"; for the other {_generator(theirs)}"
    return row(load, ours, NOOP, rates(load, theirs), used, target=target, note=note)


async def _beside_sqlite(load: Load, target: Target) -> Row:
    async with program("sink", "hang") as sink, forebay({"bench": http_sink(sink)}) as daemon:
        ours, theirs, before = [], [], daemon.usage()
        for _ in range(ROUNDS):
            ours.append(await load.on(daemon.port))
            theirs.append(machine.commits(Path(tempfile.gettempdir()), SECONDS, lines(1)))
        used = daemon.usage() - before
    return row(load, ours, "bare sqlite3 commits of one row, fsync", theirs, used, target=target)


async def _while_feeding(load: Load) -> Row:
    """What it costs ingest that a sink is fed at the same time."""
    async with AsyncExitStack() as stack:
        fed, unfed = [
            await stack.enter_async_context(
                forebay(
                    {"bench": http_sink(await stack.enter_async_context(program("sink", mode)))}
                )
            )
            for mode in ("count", "hang")
        ]
        ours, theirs, delivered, used = [], [], 0, Usage(0, 0, 0, 0)
        for _ in range(ROUNDS):
            before, sent = fed.usage(), await _delivered(fed)
            ours.append(await load.on(fed.port))
            delivered += await _delivered(fed) - sent
            await drained(fed)
            used += fed.usage() - before
            theirs.append(await load.on(unfed.port))
    note = f"; {delivered / SECONDS / ROUNDS:,.0f} events/s delivered meanwhile"
    named = replace(load, what=f"{load.what}, a sink fed")
    return row(named, ours, "the same, the sink hanging", rates(load, theirs), used, note=note)


async def _delivered(daemon: Forebay) -> int:
    return int((await daemon.status())["sinks"]["bench"]["delivered"])


async def drained(daemon: Forebay) -> None:
    """Wait until nothing is left to feed: it would slow down what is measured next."""
    async with asyncio.timeout(WAIT):
        while await daemon.lag():  # noqa: ASYNC110  another process: nothing wakes us
            await asyncio.sleep(0.1)


def rates(load: Load, found: Sequence[Throughput]) -> list[float]:
    """In the unit of the load."""
    return [one.per_second * load.events for one in found]


def row(
    load: Load,
    ours: Sequence[Throughput],
    beside: str,
    theirs: Sequence[float],
    used: Usage,
    *,
    target: Target | None = None,
    note: str = "",
) -> Row:
    """The row of a load, with what the daemon `used` for it."""
    events = sum(one.requests for one in ours) * load.events
    return Row(
        load.what, load.unit, rates(load, ours), beside, theirs, target,
        written=used.written / events,
        note=f"{used.cpu / events * 1e6:.2f} µs of CPU an event; the load generator took "
        f"{_generator(ours)}{note}",
    )  # fmt: skip


def _generator(found: Sequence[Throughput]) -> str:
    return f"{max(one.generator for one in found):.0%} of a core"


async def _answers(mode: str, what: str, *, bulk: bool) -> list[Row]:
    """Answer times at a steady rate, far below what it can take."""
    ours: list[Latencies] = []
    theirs: list[Latencies] = []
    async with (
        program("sink", mode) as sink,
        program("noop") as noop,
        forebay({"bench": http_sink(sink)}) as daemon,
    ):
        for _ in range(ROUNDS):
            ours.append(await _paced(daemon.port, bulk=bulk))
            theirs.append(await _paced(noop.port, bulk=bulk))
        buffer = (await daemon.status())["buffer"]
    trimmed = buffer["next_seq"] - 1 - buffer["events"]
    name = f"{PER_SECOND:.0f} requests/s, {what}"
    note = f"{len(ours) * PACED:,} requests, {trimmed:,} events trimmed meanwhile"
    return [
        Row(
            f"answer p99, {name}", "ms",
            [one.quantile(0.99) * 1000 for one in ours], NOOP,
            [one.quantile(0.99) * 1000 for one in theirs],
            Target(at_most=5, of_figure=True), note=note,
        ),
        Row(
            f"slowest answer, {name}", "ms",
            [max(one.most for one in ours) * 1000], NOOP,
            [max(one.most for one in theirs) * 1000],
            Target(at_most=50, of_figure=True),
        ),
    ]  # fmt: skip


async def _paced(port: int, *, bulk: bool) -> Latencies:
    requests = [post(body) for body in bodies(1, different=PACED)]
    many = [post(body, NDJSON) for body in bodies(1000)] if bulk else []
    rounds = int(PACED / PER_SECOND * BULK_PER_SECOND / 20)
    found, _ = await asyncio.gather(
        open_loop(port, requests, PER_SECOND),
        open_loop(port, many * rounds, BULK_PER_SECOND, connections=1),
    )
    return found
