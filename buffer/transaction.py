"""One transaction of the log: rows as it goes, segments when they are needed, counters at its end.

A transaction reads the ledger and never changes it: what it changed is in `changes`, which is
merged when, and only when, the commit succeeded.

A commit that only appends writes no counters: what its segments add to them can be told from the
segments (`load` does), so that an acknowledgement waits for one page of the file instead of five.
Every other commit, and each so-many-th of these, brings the counters up to date. `next_seq` in the
file says how far they go.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any, Final

from msgspec.structs import astuple, replace

from forebay.buffer.cursors import Cursor
from forebay.buffer.errors import BufferDamaged
from forebay.buffer.ledger import Changes, Ledger, Outcome, SinkState, Stream
from forebay.buffer.segment import Row

_MOST_UNCOUNTED: Final = 64
"""Segments that may be missing in the counters: as many are looked at when the file is opened."""

_ROWS_AT_ONCE: Final = 16
"""Segments that one statement inserts."""

_INSERT_SEGMENTS = "INSERT INTO segments VALUES "
_SEGMENT = "(?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_STREAM = "INSERT INTO streams (name, events_total, stored) VALUES (?, 0, 0) RETURNING id"
_UPDATE_STREAM = "UPDATE streams SET events_total = ?, stored = ? WHERE id = ?"
_UPDATE_LOG = "UPDATE log SET next_seq = ?, quarantined = ?"
_SINK_COLUMNS = (
    "name, streams, cursor, done, in_flight, notes, routed, replayed, delivered, dead_lettered, "
    "dropped, expired, quarantined, possible_duplicate, dead_letters, dead_letter_bytes, "
    "discarded, abandoned_at"
)
_REPLACE_SINK = f"""
    INSERT OR REPLACE INTO sinks ({_SINK_COLUMNS})
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SELECT_SINKS = f"SELECT {_SINK_COLUMNS} FROM sinks"
# The casts are for damaged columns.
# Joined, as whoever gives up the oldest looks for it: a damaged segment may name no stream.
_OLDEST_AT = """
    SELECT CAST(received_at AS REAL) FROM segments JOIN streams ON streams.id = segments.stream
    ORDER BY first_seq LIMIT 1
"""
_SEGMENTS = """
    SELECT name, first_seq, CAST(events AS INTEGER)
    FROM segments JOIN streams ON streams.id = segments.stream
    WHERE first_seq >= coalesce((SELECT max(first_seq) FROM segments WHERE first_seq <= ?), 0)
        AND first_seq <= ?
"""
# Left: a damaged segment may name a stream that is not there.
_UNCOUNTED = """
    SELECT name, first_seq, CAST(events AS INTEGER), CAST(size AS INTEGER),
        CAST(received_at AS REAL)
    FROM segments LEFT JOIN streams ON streams.id = segments.stream
    WHERE first_seq >= ? ORDER BY first_seq
"""
_DELETE_SINK = "DELETE FROM sinks WHERE name = ?"


class Transaction:
    """Reads through its own changes to the ledger below."""

    def __init__(self, database: sqlite3.Connection, ledger: Ledger) -> None:
        self.changes = Changes()
        self._database = database
        self._ledger = ledger
        self._only_appends = True
        self.begun = False
        """Whether it is more than one statement that appends."""
        self._rows: list[Row] = []

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, within the transaction."""
        if not self.begun:
            self.begun = True
            self._database.execute("BEGIN IMMEDIATE")
        self._write_rows()
        return self._database

    def commit(self) -> None:
        """Make it last. A few segments alone are a transaction of one statement.

        Python gives up its lock for every call of SQLite's, and gets it back when the event loop
        lets go of its own: with five calls in the place of one a commit takes half as long again.
        """
        if self.begun or len(self._rows) > _ROWS_AT_ONCE:
            self.database.execute("COMMIT")
        else:
            self._write_rows()

    def _write_rows(self) -> None:
        rows, self._rows = self._rows, []
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[first : first + _ROWS_AT_ONCE]
            values = chain.from_iterable(map(astuple, some))
            statement = _INSERT_SEGMENTS + ", ".join([_SEGMENT] * len(some))
            self._database.execute(statement, tuple(values))

    @property
    def next_seq(self) -> int:
        """The seq of the next event."""
        return self.changes.next_seq or self._ledger.next_seq

    def stream(self, name: str) -> Stream:
        """The stream of that name, made if it is new."""
        stream = self.changes.streams.get(name) or self._ledger.streams.get(name)
        if stream is None:
            stream = Stream(self.database.execute(_INSERT_STREAM, (name,)).fetchone()[0])
            self.changes.streams[name] = stream
        return stream

    def sink(self, name: str) -> SinkState | None:
        """The sink of that name, if the log knows it."""
        if name in self.changes.sinks:
            return self.changes.sinks[name]
        return self._ledger.sinks.get(name)

    def sinks(self) -> dict[str, SinkState]:
        """All sinks."""
        merged = self._ledger.sinks | self.changes.sinks
        return {name: sink for name, sink in merged.items() if sink is not None}

    def put_sink(self, name: str, sink: SinkState | None) -> None:
        """Change a sink; None forgets it."""
        self.changes.sinks[name] = sink
        self._only_appends = False

    def insert(self, stream: str, row: Row) -> None:
        """Append a segment, and count it for its stream and the sinks that take it."""
        self._rows.append(row)
        self.changes.grown += row.space
        self.appended(stream, row.first_seq, row.events, row.size, row.received_at)

    def appended(self, stream: str, first: int, events: int, size: int, at: float) -> None:
        """Count a segment. Nothing may go in here that the segment itself does not tell."""
        changes = self.changes
        changes.segments += 1
        changes.next_seq = first + events
        if not (self._ledger.oldest_at if changes.oldest_at is None else changes.oldest_at):
            changes.oldest_at = at
        before = self.stream(stream)
        total, stored = before.events_total + events, before.stored + events
        changes.streams[stream] = replace(before, events_total=total, stored=stored)
        for name in self._ledger.subscribers(stream):
            if sink := self.sink(name):
                # While nothing waits the cursor may lie far behind: nobody moves it for others'
                # events. The next reading shall not have to go through those.
                changes.sinks[name] = replace(
                    sink,
                    cursor=sink.cursor if sink.lag else Cursor(first),
                    routed=sink.routed + events,
                    routed_bytes=sink.routed_bytes + size,
                )

    def dropped(self, stream: str, events: int) -> None:
        """Count events for which there was no room, for the sinks that would have taken them."""
        for name in self._ledger.subscribers(stream):
            if sink := self.sink(name):
                routed = replace(sink, routed=sink.routed + events)
                self.put_sink(name, routed.counted({Outcome.DROPPED: events}))

    def removed(self, stream: str, events: int) -> None:
        """Count events that left their segments."""
        before = self.stream(stream)
        self.changes.streams[stream] = replace(before, stored=before.stored - events)
        self._only_appends = False

    def count_quarantined(self) -> None:
        """Count a segment that was set aside."""
        self.changes.quarantined = (self.changes.quarantined or self._ledger.quarantined) + 1
        self._only_appends = False

    def settle(self, name: str, first: int, last: int, outcomes: dict[Outcome, int]) -> bool:
        """Mark `first` to `last` as done by a sink; whether they were not done before.

        Where a part of them was (set aside, expired or dropped meanwhile), only the rest counts.
        """
        sink = self.sink(name)
        if sink is None or sink.cursor.covers(first, last):
            return False
        if sink.cursor.touches(first, last):
            outcomes = _at_most(self.waiting(sink, first, last), outcomes)
        cursor = sink.cursor.settle(first, last)
        flying = tuple(batch for batch in sink.in_flight if not cursor.covers(*batch))
        settled = replace(sink.counted(outcomes), cursor=cursor, in_flight=flying)
        self.put_sink(name, settled)
        return True

    def segments(self, first: int, last: int) -> Iterator[tuple[str, int, int]]:
        """Stream, first and last seq of what each segment has of `first` to `last`."""
        for stream, start, events in self.database.execute(_SEGMENTS, (first, last)):
            if start + events > first:
                yield stream, max(start, first), min(start + events - 1, last)

    def waiting(self, sink: SinkState, first: int, last: int) -> int:
        """How many events of `first` to `last` wait for a sink. Reads their segments' headers."""
        return sum(
            sink.cursor.open_events(low, high)
            for stream, low, high in self.segments(first, last)
            if sink.takes_at(stream, low)
        )

    def finish(self, *, counted: bool = False) -> None:
        """Write the counters where it is time to, or where it is asked for."""
        earlier, changes = self._ledger.uncounted, self.changes
        waiting = earlier.segments + changes.segments
        if self._only_appends and waiting < _MOST_UNCOUNTED and not counted:
            return
        changes.counted = True
        execute = self.database.execute
        for stream in (earlier.streams | changes.streams).values():
            execute(_UPDATE_STREAM, (stream.events_total, stream.stored, stream.id))
        for name, sink in (earlier.sinks | changes.sinks).items():
            if sink is None:
                execute(_DELETE_SINK, (name,))
            else:
                execute(_REPLACE_SINK, _sink_row(name, sink))
        if waiting or changes.quarantined is not None:
            quarantined = changes.quarantined or self._ledger.quarantined
            execute(_UPDATE_LOG, (self.next_seq, quarantined))


def _at_most(events: int, outcomes: dict[Outcome, int]) -> dict[Outcome, int]:
    """`outcomes` cut down to so many events, beginning with what was delivered."""
    surplus = sum(outcomes.values()) - outcomes.get(Outcome.POSSIBLE_DUPLICATE, 0) - events
    counted = dict(outcomes)
    for outcome in Outcome:
        if outcome in counted and outcome is not Outcome.POSSIBLE_DUPLICATE:
            cut = max(min(counted[outcome], surplus), 0)
            counted[outcome] -= cut
            surplus -= cut
    return counted


def _sink_row(name: str, sink: SinkState) -> tuple[object, ...]:
    return (
        name, json.dumps(sink.streams), sink.cursor.position, json.dumps(sink.cursor.done),
        json.dumps(sink.in_flight), sink.notes, sink.routed, sink.replayed, sink.delivered,
        sink.dead_lettered, sink.dropped, sink.expired, sink.quarantined, sink.possible_duplicate,
        sink.dead_letters, sink.dead_letter_bytes, sink.discarded, sink.abandoned_at,
    )  # fmt: skip


def _sink(row: Sequence[Any]) -> tuple[str, SinkState]:
    name, streams, position, done, in_flight, notes, *counts, abandoned_at = row
    cursor = Cursor(position, tuple((low, high) for low, high in json.loads(done)))
    flying = tuple((low, high) for low, high in json.loads(in_flight))
    globs = tuple(json.loads(streams))
    # mypy cannot see that the row has as many columns as the class has counters
    state = SinkState(globs, cursor, *counts, notes, flying, 0, abandoned_at)  # type: ignore[call-arg]
    return name, state


def _readable_sink(row: Sequence[Any]) -> tuple[str, SinkState]:
    try:
        return _sink(row)
    except (TypeError, ValueError) as error:
        raise BufferDamaged(
            f"what the log knows about sink {row[0]!r} is damaged: {error}"
        ) from error


def load(database: sqlite3.Connection) -> Ledger:
    """The ledger as it stands in the file.

    Reads no segments but the oldest one's header, and the headers of those that are not counted.
    """
    instance, next_seq, quarantined = database.execute(
        "SELECT instance, next_seq, quarantined FROM log"
    ).fetchone()
    ledger = Ledger(instance, next_seq, quarantined=quarantined)
    for id_, name, events_total, stored in database.execute("SELECT * FROM streams"):
        ledger.streams[name] = Stream(id_, events_total, stored)
    ledger.sinks = dict(_readable_sink(row) for row in database.execute(_SELECT_SINKS))
    ledger.oldest_at = oldest_at(database)
    ledger.merge(_uncounted(database, ledger))
    return ledger


def _uncounted(database: sqlite3.Connection, ledger: Ledger) -> Changes:
    """What the segments add that came after the counters were last written."""
    transaction = Transaction(database, ledger)
    rows = database.execute(_UNCOUNTED, (ledger.next_seq,)).fetchall()
    following = [row[1] for row in rows[1:]]
    for (stream, first, count, size, at), next_first in zip_longest(rows, following):
        # A damaged count is not believed: only that of the last one, and where it can be true.
        believed = count if count is not None and 1 <= count <= (size or 0) else 1
        events = believed if next_first is None else next_first - first
        if stream is None:
            transaction.changes.segments += 1
            transaction.changes.next_seq = first + events
        else:
            transaction.appended(stream, first, events, size or 0, at or 0.0)
    return transaction.changes


def oldest_at(database: sqlite3.Connection) -> float:
    """When the oldest stored event came; 0 without any."""
    row = database.execute(_OLDEST_AT).fetchone()
    return row[0] or 0.0 if row else 0.0
