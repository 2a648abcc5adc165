"""Reading the log for one sink: short read-only queries, from a position onwards."""

import asyncio
import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import aiosqlite

from forebay.buffer import database as db
from forebay.buffer.cursors import Cursor
from forebay.buffer.errors import BufferDamaged, BufferUnavailable
from forebay.buffer.ledger import Ledger
from forebay.buffer.segment import Row, Slice, unpack

_AHEAD_ROWS: Final = 2048
"""Segments looked at by one query."""
_INLINE_BYTES: Final = 64 * 1024
"""Up to here, unpacking on the event loop is quicker than handing it to a thread."""

# The headers of the segments ahead tell how many of them are needed; only their blobs are read.
# What a damaged column holds may be of any type and size: hence the casts, and `total`, which
# never overflows.
_COLUMNS = """
    segments.first_seq, coalesce(CAST(segments.events AS INTEGER), 0),
    coalesce(CAST(stream AS INTEGER), 0), coalesce(CAST(received_at AS REAL), 0),
    coalesce(CAST(segments.size AS INTEGER), 0), coalesce(CAST(checksum AS INTEGER), 0),
    CAST(attributes AS BLOB), coalesce(CAST(data AS BLOB), x'')
"""
_READ = f"""
    SELECT {_COLUMNS}
    FROM (
        SELECT first_seq,
               total(events) OVER ahead - events AS events_before,
               total(size) OVER ahead - size AS size_before
        FROM (
            SELECT first_seq, events, size FROM segments
            WHERE first_seq >= :since AND first_seq < :end AND {{streams}}
            ORDER BY first_seq LIMIT :rows
        )
        WINDOW ahead AS (ORDER BY first_seq ROWS UNBOUNDED PRECEDING)
    ) AS ahead JOIN segments USING (first_seq)
    WHERE events_before < :events AND size_before < :size
    ORDER BY first_seq
"""
_READ_ONE = f"SELECT {_COLUMNS} FROM segments WHERE first_seq = ?"
_FIND_ONE = """
    SELECT first_seq FROM segments
    WHERE first_seq >= :since AND first_seq < :end AND {streams} ORDER BY first_seq LIMIT 1
"""
_ALL_STREAMS = "true"
_ONLY_STREAMS = "stream IN (SELECT value FROM json_each(:ids))"
# None where the segment that held a seq was set aside: the one before it does not reach so far.
_SEGMENT_OF = """
    SELECT max(first_seq) FROM (
        SELECT first_seq, events FROM segments WHERE first_seq <= :seq
        ORDER BY first_seq DESC LIMIT 1
    )
    WHERE first_seq + events > :seq
"""


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


@dataclass(frozen=True, slots=True)
class _Found:
    """What a query found ahead."""

    rows: Sequence[Row]
    to_end: bool
    """There is nothing for the sink behind them."""
    damage: Damage | None = None


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

    async def read(
        self, max_events: int, max_bytes: int, until: int | None = None
    ) -> Reading | Damage:
        """At most so many events and bytes of NDJSON, but one event at least where there is one.

        Slices are joined by newlines: each counts its payload and one byte. With `until`, which
        must not be below `position`, the stretch ends there at the latest.
        """
        taken: list[Slice] = []
        first, events, size = self.position, max_events, max_bytes
        end = inf if until is None else until + 1
        while events > 0 and size > 0 and self._next < end:
            if not self._ready:
                damage = await self._fetch(events, size)
                if damage is not None and not taken and not self._ready:
                    return damage
                if not self._ready:
                    break
            if self._next >= end:
                break
            events_here = int(min(events, end - self._next))
            part, whole = self._take(events_here, size, force=not taken)
            if part is not None:
                taken.append(part)
                events, size = events - part.count, size - len(part.payload) - 1
            if not whole:
                break
        self.position = int(min(self._next, end))
        return Reading(first, self.position - 1, tuple(taken))

    @property
    def _next(self) -> int:
        """Below this there is nothing more for the sink."""
        return self._ready[0].first_seq if self._ready else self._ready_to

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
        since = sink.cursor.next_open(self._ready_to)
        if since >= end:
            self._ready_to = since
            return None
        names = {stream.id: name for name, stream in ledger.streams.items() if sink.takes(name)}
        only = None if len(names) == len(ledger.streams) else list(names)
        found = await self._find(since, end, events, size, only)
        slices, damage = await _unpack_all(found.rows, names)
        damage = damage or found.damage
        for slice_ in slices:
            self._ready.extend(_open_parts(slice_, since, sink.cursor))
        if damage is not None:
            self._ready_to = max(since, damage.first_seq)
        elif found.to_end:
            self._ready_to = end
        else:
            self._ready_to = found.rows[-1].first_seq + found.rows[-1].events
        return damage

    async def _find(
        self, since: int, end: int, events: int, size: int, only: list[int] | None
    ) -> _Found:
        """The segments from the one that holds `since`, until there is enough."""
        streams = _ALL_STREAMS if only is None else _ONLY_STREAMS
        parameters: dict[str, Any] = {"end": end, "size": size, "rows": _AHEAD_ROWS}
        if only is not None:
            parameters["ids"] = json.dumps(only)
        try:
            [[begin]] = await self._connection.execute_fetchall(_SEGMENT_OF, {"seq": since})
            parameters["since"] = begin = begin or since
            parameters["events"] = events + since - begin
            rows = await self._rows(_READ.format(streams=streams), parameters)
        except sqlite3.Error as error:
            if "events" not in parameters or not db.is_corrupt(error):
                raise BufferUnavailable(f"cannot read the log: {db.describe(error)}") from error
            return await self._find_one(_FIND_ONE.format(streams=streams), parameters)
        return _Found(rows, _exhausted(rows, events, size))

    async def _find_one(self, query: str, parameters: dict[str, Any]) -> _Found:
        """The next segment alone, for when one of several is torn: by and by, that one."""
        try:
            for (first_seq,) in await self._connection.execute_fetchall(query, parameters):
                return await self._one(first_seq)
        except sqlite3.Error as error:
            raise BufferUnavailable(f"cannot read the log: {db.describe(error)}") from error
        return _Found((), to_end=True)

    async def _one(self, first_seq: int) -> _Found:
        try:
            return _Found(await self._rows(_READ_ONE, (first_seq,)), to_end=False)
        except sqlite3.Error as error:
            if not db.is_corrupt(error):
                raise
            reason = f"segment {first_seq}: {db.describe(error)}"
            return _Found((), to_end=False, damage=Damage(first_seq, reason))

    async def _rows(self, query: str, parameters: Any) -> list[Row]:
        return [Row(*row) for row in await self._connection.execute_fetchall(query, parameters)]


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
