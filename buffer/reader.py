"""Reading the log for one sink: short read-only queries, from a position onwards."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiosqlite

from forebay.buffer.cursors import Cursor
from forebay.buffer.errors import BufferDamaged
from forebay.buffer.ledger import Ledger
from forebay.buffer.segment import Row, Slice, unpack

_AHEAD_ROWS: Final = 2048
"""Segments looked at by one query."""
_INLINE_BYTES: Final = 64 * 1024
"""Up to here, unpacking on the event loop is quicker than handing it to a thread."""

# The headers of the segments ahead tell how many of them are needed; only their blobs are read.
_READ = """
    SELECT segments.first_seq, segments.events, stream, received_at, segments.size, checksum,
           attributes, data
    FROM (
        SELECT first_seq,
               sum(events) OVER ahead - events AS events_before,
               sum(size) OVER ahead - size AS size_before
        FROM (
            SELECT first_seq, events, size FROM segments
            WHERE first_seq >= :since AND first_seq < :end {streams}
            ORDER BY first_seq LIMIT :rows
        )
        WINDOW ahead AS (ORDER BY first_seq ROWS UNBOUNDED PRECEDING)
    ) AS ahead JOIN segments USING (first_seq)
    WHERE events_before < :events AND size_before < :size
    ORDER BY first_seq
"""
_ONLY_STREAMS = "AND stream IN (SELECT value FROM json_each(:ids))"
_SEGMENT_OF = "SELECT max(first_seq) FROM segments WHERE first_seq <= ?"


@dataclass(frozen=True, slots=True)
class Reading:
    """Events for a sink, and the stretch of the log in which they are all there is for it."""

    first: int
    """The first seq of the stretch."""
    last: int
    """The last one; below `first` when nothing was read."""
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Damage:
    """A segment that could not be read."""

    first_seq: int
    reason: str


class LogReader:
    """Goes through the log once, in the order of seq, past what the sink is done with.

    It keeps what it unpacked and did not yet hand out: at most one segment more than was asked.
    """

    def __init__(
        self, name: str, ledger: Callable[[], Ledger], connection: aiosqlite.Connection
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._connection = connection
        self.position = ledger().sinks[name].cursor.position
        """Everything below was handed out."""
        self._ready: deque[Slice] = deque()
        self._ready_to = self.position
        """Everything below is in `_ready` or was handed out."""

    async def read(self, max_events: int, max_bytes: int) -> Reading | Damage:
        """At most so many events and bytes of NDJSON, but one event at least where there is one.

        Slices are joined by newlines: each counts its payload and one byte.
        """
        taken: list[Slice] = []
        first, events, size = self.position, max_events, max_bytes
        while events > 0 and size > 0:
            if not self._ready:
                damage = await self._fetch(events, size)
                if damage is not None and not taken and not self._ready:
                    return damage
                if not self._ready:
                    break
            part, whole = self._take(events, size, force=not taken)
            if part is not None:
                taken.append(part)
                events, size = events - part.count, size - len(part.payload) - 1
            if not whole:
                break
        self.position = self._ready[0].first_seq if self._ready else self._ready_to
        return Reading(first, self.position - 1, tuple(taken))

    def _take(self, events: int, size: int, *, force: bool) -> tuple[Slice | None, bool]:
        """The next slice or as much of it as fits, and whether that was all of it."""
        head = self._ready[0]
        fitting = min(events, head.fitting(size))
        if fitting == 0:
            if not force:
                return None, False
            fitting = 1
        if fitting >= head.count:
            return self._ready.popleft(), True
        head, self._ready[0] = head.split(fitting)
        return head, False

    async def _fetch(self, events: int, size: int) -> Damage | None:
        """Unpack the next segments into `_ready`."""
        ledger = self._ledger()
        end, sink = ledger.next_seq, ledger.sinks[self._name]
        since = sink.cursor.next_open(max(self._ready_to, ledger.caught_up.get(self._name, 0)))
        if since >= end:
            self._ready_to = since
            return None
        names = {stream.id: name for name, stream in ledger.streams.items() if sink.takes(name)}
        only = None if len(names) == len(ledger.streams) else list(names)
        rows = await self._rows(since, end, events, size, only)
        slices, damage = await _unpack_all(rows, names)
        for slice_ in slices:
            self._ready.extend(_open_parts(slice_, since, sink.cursor))
        if damage is not None:
            self._ready_to = max(since, damage.first_seq)
        elif _exhausted(rows, events, size):
            self._ready_to = end
        else:
            self._ready_to = rows[-1].first_seq + rows[-1].events
        return damage

    async def _rows(
        self, since: int, end: int, events: int, size: int, only: list[int] | None
    ) -> list[Row]:
        """The segments from the one that holds `since`, until there is enough."""
        found = await self._connection.execute_fetchall(_SEGMENT_OF, (since,))
        begin = next(iter(found))[0] or since
        query = _READ.format(streams="" if only is None else _ONLY_STREAMS)
        parameters: dict[str, Any] = {
            "since": begin, "end": end, "events": events + since - begin, "size": size,
            "rows": _AHEAD_ROWS,
        }  # fmt: skip
        if only is not None:
            parameters["ids"] = json.dumps(only)
        rows = await self._connection.execute_fetchall(query, parameters)
        return [Row(*row) for row in rows]


def _exhausted(rows: Sequence[Row], events: int, size: int) -> bool:
    """Whether a query that was asked for so much found the log's end."""
    return (
        len(rows) < _AHEAD_ROWS
        and sum(row.events for row in rows) < events
        and sum(row.size for row in rows) < size
    )


async def _unpack_all(
    rows: Sequence[Row], names: dict[int, str]
) -> tuple[list[Slice], Damage | None]:
    if sum(len(row.data) for row in rows) <= _INLINE_BYTES:
        return _unpack(rows, names)
    return await asyncio.to_thread(_unpack, rows, names)


def _unpack(rows: Sequence[Row], names: dict[int, str]) -> tuple[list[Slice], Damage | None]:
    """The events of all rows up to the first damaged one."""
    slices: list[Slice] = []
    for row in rows:
        try:
            slices.append(unpack(row, names.get(row.stream, "")))
        except BufferDamaged as error:
            return slices, Damage(row.first_seq, str(error))
    return slices, None


def _open_parts(slice_: Slice, since: int, cursor: Cursor) -> Iterator[Slice]:
    """What of a slice is from `since` on and not done."""
    rest: Slice | None = slice_
    while rest is not None:
        begin = cursor.next_open(max(rest.first_seq, since))
        if begin >= rest.next_seq:
            return
        if begin > rest.first_seq:
            _, rest = rest.split(begin - rest.first_seq)
        end = next((low for low, _ in cursor.done if low > begin), rest.next_seq)
        if end >= rest.next_seq:
            yield rest
            return
        part, rest = rest.split(end - begin)
        yield part
