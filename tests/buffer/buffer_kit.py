"""What the buffer's tests share: entries, open stores, and the log as a list of events."""

import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay.buffer import BufferOptions, Damage, Entry, LogReader, Reading, Store

Attributes = dict[str, str] | None


@dataclass(frozen=True)
class Event:
    seq: int
    stream: str
    data: bytes
    attributes: Attributes = None


class WallClock:
    """Seconds since the epoch, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(options: BufferOptions, **arguments: Any) -> AsyncIterator[Store]:
    store = Store(options, **arguments)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def entry(stream: str, *events: bytes, attributes: tuple[Attributes, ...] | None = None) -> Entry:
    return Entry(stream, b"\n".join(events), len(events), attributes)


def numbered(stream: str, count: int, *, start: int = 0, pad: int = 0) -> Entry:
    """`count` different events; `pad` bytes that do not compress make each larger."""
    return entry(stream, *(line(number, pad) for number in range(start, start + count)))


def block(number: int, size: int = 100_000) -> Entry:
    """One event of about so many bytes."""
    return entry("s", line(number, size))


def line(number: int, pad: int = 0) -> bytes:
    noise = _noise(number, pad)
    return b'{"n":%d,"pad":"%s"}' % (number, noise)


def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size // 2).hex().encode()


def events_of(reading: Reading) -> list[Event]:
    found: list[Event] = []
    for part in reading.slices:
        lines = part.payload.split(b"\n")
        assert len(lines) == part.count
        extra = part.attributes or (None,) * part.count
        assert len(extra) == part.count
        found += [
            Event(part.first_seq + index, part.stream, data, extra[index])
            for index, data in enumerate(lines)
        ]
    return found


async def rest(
    reader: LogReader, *, max_events: int = 10_000, max_bytes: int = 4 * 1024 * 1024
) -> list[Event]:
    """All that a reader still hands out."""
    found: list[Event] = []
    while True:
        reading = await reader.read(max_events, max_bytes)
        assert isinstance(reading, Reading), reading
        if reading.last < reading.first:
            return found
        found += events_of(reading)


async def drain(store: Store, sink: str) -> list[Event]:
    """All that waits for a sink, as a fresh reader sees it."""
    return await rest(store.reader(sink))


async def read(reader: LogReader, max_events: int = 10_000, max_bytes: int = 1 << 22) -> Reading:
    reading = await reader.read(max_events, max_bytes)
    assert isinstance(reading, Reading), reading
    return reading


async def damage_of(reader: LogReader) -> Damage:
    damage = await reader.read(10_000, 1 << 22)
    assert isinstance(damage, Damage), damage
    return damage


@contextmanager
def other_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A second connection to the file, as a person or a backup program may have one."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as database:
        yield database


def rows(path: Path, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with other_connection(path) as database:
        return database.execute(query, parameters).fetchall()


async def until(store: Store, condition: Callable[[], bool]) -> None:
    """Let commits pass until `condition` holds; bounded."""
    for _ in range(100):
        if condition():
            return
        await store.flush()
    raise AssertionError("the condition never held")
