"""What steady traffic costs: how soon an event is delivered, and its CPU from receipt on."""

import asyncio
import time

from benchmarks.backlog import arrival, counts, delivered, microseconds, powerbi_sink, table
from benchmarks.booking import NDJSON, bodies, booking
from benchmarks.load import Client, Latencies, open_loop, post
from benchmarks.processes import Program, forebay, http_sink, program
from benchmarks.report import Row, Target

SECONDS = 10
ROUNDS = 2
SINGLE = 100
"""Single events a second, whose way to the sink is timed."""
EVENTS = 10_000
"""Events a second, whose CPU is counted."""
PER_BODY = 100


async def run() -> list[Row]:
    return [*await _delay(), await _cpu()]


async def _delay() -> list[Row]:
    ours, theirs = [], []
    async with program("arrivals") as sink:
        options = http_sink(sink, batch={"linger": "0ms"})
        async with forebay(table(options)) as daemon:
            for _ in range(ROUNDS):
                ours.append(await _delays(daemon.port, sink))
                theirs.append(await _delays(sink.port, sink))
    target = Target(at_most=10, of_figure=True)
    return [_row("p50", 0.5, ours, theirs, target), _row("p99", 0.99, ours, theirs)]


def _row(
    name: str,
    share: float,
    ours: list[Latencies],
    theirs: list[Latencies],
    target: Target | None = None,
) -> Row:
    return Row(
        f"sent to delivered, {SINGLE} events/s, linger 0ms, {name}",
        "ms",
        [found.quantile(share) * 1e3 for found in ours],
        "posted straight to the sink",
        [found.quantile(share) * 1e3 for found in theirs],
        target,
    )


async def _delays(port: int, sink: Program) -> Latencies:
    """How long events were on their way to the sink that were posted to `port`."""
    before, events = (await counts(sink))["lines"], SINGLE * SECONDS // ROUNDS
    await _one_by_one(port, events)
    await arrival(sink, before + events)
    found = (await counts(sink))["delays"]
    assert len(found) == before + events
    return Latencies(tuple(found[before:]))


async def _one_by_one(port: int, events: int, connections: int = 8) -> None:
    """Single events on schedule; each carries the moment at which it was sent."""
    began = time.perf_counter() + 0.05

    async def lane(number: int) -> None:
        client = await Client.open(port)
        for index in range(number, events, connections):
            await asyncio.sleep(max(began + index / SINGLE - time.perf_counter(), 0))
            await client.store(post(stamped(booking(), time.time())))
        client.close()

    await asyncio.gather(*(lane(number) for number in range(connections)))


def stamped(event: bytes, now: float) -> bytes:
    """The event, with the moment as its last member: `programs/arrivals.py` looks for it there."""
    return event.removesuffix(b"}") + b', "sent_at": %.6f}' % now


async def _cpu() -> Row:
    requests = [post(body, NDJSON) for body in bodies(PER_BODY)] * (EVENTS // PER_BODY)
    requests = requests[: EVENTS // PER_BODY] * SECONDS
    async with program("rows") as sink, forebay(table(powerbi_sink(sink))) as daemon:
        before = daemon.usage()
        await open_loop(daemon.port, requests, EVENTS / PER_BODY)
        await delivered(daemon, sink, EVENTS * SECONDS)
        used = daemon.usage() - before
    return Row(
        f"CPU at {EVENTS:,} events/s in bodies of {PER_BODY}, to Power BI rows, five typed columns",
        "µs/event",
        [microseconds(used.cpu, EVENTS * SECONDS)],
        written=used.written / (EVENTS * SECONDS),
        note="receipt, fsync, rows and request together; quotas lifted by sinks.NAME.limits",
    )
