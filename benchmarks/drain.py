"""How fast does a backlog leave, once the sink takes it?

The events are put in while the sink is paused; the clock runs from `resume` until a counting
program has the last line. Beside it, in turns: a bare aiohttp client that posts bodies of as many
events from memory to the same program.
"""

import random
import time
from dataclasses import dataclass
from statistics import median

import aiohttp

from benchmarks.backlog import (
    arrival,
    counts,
    delivered,
    microseconds,
    pause,
    powerbi_sink,
    put_in,
    resume,
    table,
)
from benchmarks.booking import NDJSON, lines
from benchmarks.load import fill, post
from benchmarks.processes import Forebay, Program, forebay, http_sink, program
from benchmarks.report import Row, Target

BACKLOG = 3_000_000
SLOW = 100_000
ROWS = 600_000
PER_REQUEST = 10_000
ROUNDS = 3


@dataclass(frozen=True)
class Drained:
    """Events a second; and an event: microseconds of the daemon's CPU, bytes that it had the disk
    write meanwhile, bytes that the event took on disk before.
    """

    rate: float
    cpu: float
    written: float
    stored: float


async def run() -> list[Row]:
    return [await _pass_through(), *await _slow_traffic(), await _power_bi()]


async def _pass_through() -> Row:
    ours, theirs = [], []
    async with program("sink") as sink:
        for _ in range(ROUNDS):
            async with forebay(table(http_sink(sink))) as daemon:
                await pause(daemon)
                await put_in(daemon, BACKLOG)
                ours.append(await _drain(daemon, sink, BACKLOG))
            theirs.append(await _bare(sink, BACKLOG))
    return Row(
        f"drain of {BACKLOG:,} events to an HTTP sink",
        "events/s",
        [found.rate for found in ours],
        f"aiohttp client, bodies of {PER_REQUEST:,} from memory",
        theirs,
        Target(at_least=1_500_000, of_figure=True),
        median(found.written for found in ours),
        _cpu(ours),
    )


async def _slow_traffic() -> list[Row]:
    ours = []
    bodies = small_bodies(SLOW, 64)
    async with program("sink") as sink:
        for _ in range(ROUNDS - 1):
            async with forebay(table(http_sink(sink))) as daemon:
                await pause(daemon)
                # One connection: every request is a commit of its own.
                requests = [post(body, NDJSON) for body in bodies]
                await fill(daemon.port, requests, len(requests), connections=1)
                ours.append(await _drain(daemon, sink, SLOW))
    what = f"{SLOW:,} events of slow traffic, commits of 1 to 64"
    return [
        Row(f"drain of {what}", "events/s", [found.rate for found in ours], note=_cpu(ours)),
        Row(f"disk, {what}", "B/event", [found.stored for found in ours]),
    ]


async def _power_bi() -> Row:
    ours = []
    async with program("rows") as sink:
        for _ in range(ROUNDS - 1):
            async with forebay(table(powerbi_sink(sink))) as daemon:
                await pause(daemon)
                await put_in(daemon, ROWS)
                ours.append(await _drain(daemon, sink, ROWS))
    return Row(
        f"drain of {ROWS:,} events to Power BI rows, five typed columns",
        "rows/s",
        [found.rate for found in ours],
        target=Target(at_least=150_000),
        note=f"quotas lifted by sinks.NAME.limits; {_cpu(ours)}",
    )


async def _drain(daemon: Forebay, sink: Program, events: int) -> Drained:
    """The sink may have been sent events before, but not of this daemon."""
    assert await daemon.lag() == events
    before, used, disk = (await counts(sink))["lines"], daemon.usage(), daemon.disk_bytes()
    began = time.perf_counter()
    await resume(daemon)
    seconds = await arrival(sink, before + events) - began
    await delivered(daemon, sink, before + events)
    used = daemon.usage() - used
    cpu = microseconds(used.cpu, events)
    return Drained(events / seconds, cpu, used.written / events, disk / events)


async def _bare(sink: Program, events: int) -> float:
    """Events a second of a client that has them in memory, one request after the other."""
    body = lines(PER_REQUEST) + b"\n"
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for _ in range(events // PER_REQUEST):
            async with session.post(sink.url, data=body) as response:
                await response.read()
    return events / (time.perf_counter() - began)


def small_bodies(events: int, most: int) -> list[bytes]:
    """NDJSON bodies of 1 to `most` events, as many as make `events` together."""
    dice = random.Random(64)  # noqa: S311  the same sizes in every run
    bodies, left = [], events
    while left:
        size = min(dice.randint(1, most), left)
        bodies.append(lines(size))
        left -= size
    return bodies


def _cpu(found: list[Drained]) -> str:
    return f"{min(drained.cpu for drained in found):.2f} µs of CPU an event"
