"""Killed at any moment: what was acknowledged is there, and the counters agree with the data."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest
from buffer_kit import drain, opened, rows

from forebay.buffer import BufferOptions, Durability

# Appends from several clients, settles out of order, and says what was acknowledged.
WRITER = """
import asyncio, sys
from pathlib import Path
from forebay.buffer import BufferOptions, Entry, Outcome, Reading, Store

async def client(store, name, start):
    for number in range(start, 100_000):
        events = [b'{"id":"%s-%d-%d"}' % (name.encode(), number, i) for i in range(number % 3 + 1)]
        receipt = await store.append(Entry(name, b"\\n".join(events), len(events)))
        print("stored", receipt.first_seq, b"|".join(events).decode(), flush=True)

async def pipeline(store):
    reader, arrived = store.reader("fast"), asyncio.Event()
    store.watch("fast", lambda _: arrived.set())
    flights = []
    while True:
        reading = await reader.read(7, 100_000)
        if reading.last < reading.first:
            await arrived.wait()
            arrived.clear()
            continue
        flights.append(reading)
        if len(flights) == 3:
            for one in (flights[1], flights[0], flights[2]):
                count = sum(part.count for part in one.slices)
                store.settle("fast", one.first, one.last, {Outcome.DELIVERED: count})
            flights.clear()

async def main(path, start):
    store = Store(BufferOptions(path=path, max_bytes=64 * 1024 * 1024))
    await store.open()
    await store.subscribe("fast", ("a", "b"), start_now=False)
    await store.subscribe("slow", ("*",), start_now=False)
    print("open", flush=True)
    await asyncio.gather(pipeline(store), *(client(store, name, start) for name in "abc"))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


def run_and_kill(path: Path, start: int, lines: int) -> dict[int, bytes]:
    """Start it, let it say so many lines, kill it; the acknowledged events by seq."""
    stored: dict[int, bytes] = {}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(start)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        for _ in range(lines):
            _acknowledged(process.stdout.readline(), stored)
        process.kill()
        for said in process.stdout:  # what it said before it was killed is a promise too
            if said.endswith(b"\n"):
                _acknowledged(said, stored)
    return stored


def _acknowledged(said: bytes, stored: dict[int, bytes]) -> None:
    _, first_seq, events = said.split()
    for index, event in enumerate(events.split(b"|")):
        stored[int(first_seq) + index] = event


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(
    options: BufferOptions, seed: int
) -> None:
    """Failure mode 10: and the counters agree with the data."""
    moments = random.Random(seed)
    fsynced = options.model_copy(update={"durability": Durability.FSYNC})
    stored: dict[int, bytes] = {}
    for generation in range(4):
        lines = moments.choice((1, 3, 20, 150, 400)) + moments.randrange(20)
        new = await asyncio.to_thread(run_and_kill, options.path, 1000 * generation, lines)
        assert not new.keys() & stored.keys(), "no seq is used twice"
        stored |= new
        async with opened(fsynced) as store:
            waiting = {event.seq: event.data for event in await drain(store, "slow")}
            assert stored.items() <= waiting.items()
            assert store.ledger.next_seq == max(waiting) + 1
            assert sorted(waiting) == list(range(1, max(waiting) + 1))
            for name in ("fast", "slow"):
                sink = store.sink(name)
                found = await drain(store, name)
                assert sink.lag == len(found)
                assert sink.routed == sink.delivered + sink.lag
                own = [seq for seq in waiting if sink.takes(_stream(waiting[seq]))]
                assert sink.routed == len(own)
            for name, stream in store.ledger.streams.items():
                assert stream.events_total == sum(
                    _stream(data) == name for data in waiting.values()
                )
            assert rows(options.path, "PRAGMA integrity_check") == [("ok",)]


def _stream(data: bytes) -> str:
    return chr(data[7])
