"""Fetching segments from the file: short read-only queries, unpacked beside the event loop."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiosqlite

from forebay.buffer import database as db
from forebay.buffer.errors import BufferDamaged, BufferUnavailable
from forebay.buffer.segment import Row, Slice, unpack

_FEWEST_ROWS: Final = 16
_MOST_ROWS: Final = 2048
"""Segments looked at by one query: at first, and at most."""
_INLINE_ROWS: Final = 16
_INLINE_BYTES: Final = 64 * 1024
"""Up to here, unpacking on the event loop is quicker than handing it to a thread."""

_SIZE: Final = Row.__struct_fields__.index("size")

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
class Damage:
    """A segment that could not be read."""

    first_seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """So many events or bytes of NDJSON, whichever is less, from `since` to below `end`."""

    since: int
    end: int
    events: int
    size: int
    streams: Mapping[int, str]
    """The names of the streams that are wanted, by their ids."""
    all_streams: bool
    """There are no others."""


@dataclass(slots=True)
class Found:
    """What is ahead: whole segments, the first of which may begin before it was wanted."""

    slices: list[Slice] = field(default_factory=list)
    to_end: bool = False
    """There is nothing behind them."""
    damage: Damage | None = None
    """The segment behind them cannot be read."""


class Fetcher:
    """Finds the segments ahead. It learns how many of them make up what is usually wanted."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._limit = _FEWEST_ROWS
        self._boundary = 0
        """A seq that is known not to lie within a segment."""

    async def fetch(self, wanted: Wanted) -> Found:
        """The next segments, as far as one query looks. Raises BufferUnavailable."""
        query = _Query(wanted)
        try:
            query.since = await self._begin(wanted.since)
        except sqlite3.Error as error:
            raise _unavailable(error) from error
        try:
            rows = await self._rows(query.read, query.parameters(self._limit))
        except sqlite3.Error as error:
            if not db.is_corrupt(error):
                raise _unavailable(error) from error
            return await self._fetch_one(query)
        found = await _unpack_all(rows, wanted.streams)
        short = len(rows) < self._limit and found.damage is None
        found.to_end = short and not query.satisfied_by(found.slices)
        self._limit = max(_FEWEST_ROWS, min(len(rows) * 3 // 2, _MOST_ROWS))
        if found.slices:
            self._boundary = found.slices[-1].next_seq
        return found

    async def _begin(self, since: int) -> int:
        """Where the segment begins that holds `since`."""
        if since == self._boundary:
            return since
        [[begin]] = await self._rows(_SEGMENT_OF, {"seq": since})
        return begin or since

    async def _fetch_one(self, query: "_Query") -> Found:
        """The next segment alone, for when one of several is torn: by and by, that one."""
        try:
            for (first_seq,) in await self._rows(query.find_one, query.parameters(1)):
                return await self._one(first_seq, query.wanted.streams)
        except sqlite3.Error as error:
            raise _unavailable(error) from error
        return Found(to_end=True)

    async def _one(self, first_seq: int, names: Mapping[int, str]) -> Found:
        try:
            return await _unpack_all(await self._rows(_READ_ONE, (first_seq,)), names)
        except sqlite3.Error as error:
            if not db.is_corrupt(error):
                raise
            reason = f"segment {first_seq}: {db.describe(error)}"
            return Found(damage=Damage(first_seq, reason))

    async def _rows(self, query: str, parameters: Any) -> list[Any]:
        return list(await self._connection.execute_fetchall(query, parameters))


class _Query:
    """What is wanted, as SQL."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.since = wanted.since
        """Where the segment begins that holds the first event."""
        self._streams = _ALL_STREAMS if wanted.all_streams else _ONLY_STREAMS

    @property
    def read(self) -> str:
        return _READ.format(streams=self._streams)

    @property
    def find_one(self) -> str:
        return _FIND_ONE.format(streams=self._streams)

    @property
    def _events(self) -> int:
        return self.wanted.events + self.wanted.since - self.since

    def parameters(self, rows: int) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "since": self.since, "end": self.wanted.end, "rows": rows,
            "events": self._events, "size": self.wanted.size,
        }  # fmt: skip
        if not self.wanted.all_streams:
            parameters["ids"] = json.dumps(list(self.wanted.streams))
        return parameters

    def satisfied_by(self, slices: Sequence[Slice]) -> bool:
        """Whether there is enough, so that the query may have left out what follows."""
        return (
            sum([slice_.count for slice_ in slices]) >= self._events
            or sum([len(slice_.payload) for slice_ in slices]) >= self.wanted.size
        )


async def _unpack_all(rows: Sequence[Any], names: Mapping[int, str]) -> Found:
    # `size`: a little that is compressed may be a lot. A damaged one decides nothing else.
    if len(rows) <= _INLINE_ROWS and sum(row[_SIZE] for row in rows) <= _INLINE_BYTES:
        return _unpack(rows, names)
    return await asyncio.to_thread(_unpack, rows, names)


def _unpack(rows: Sequence[Any], names: Mapping[int, str]) -> Found:
    """The events of all rows up to the first damaged one."""
    found = Found()
    for values in rows:
        row = Row(*values)
        try:
            found.slices.append(unpack(row, names.get(row.stream, "")))
        except BufferDamaged as error:
            found.damage = Damage(row.first_seq, str(error))
            break
    return found


def _unavailable(error: sqlite3.Error) -> BufferUnavailable:
    return BufferUnavailable(f"cannot read the log: {db.describe(error)}")
