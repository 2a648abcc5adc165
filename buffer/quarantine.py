"""Setting a damaged segment aside: it costs its own events, and nobody else's.

Nothing in a damaged segment is believed but its key and, where the log knows such a stream, its
stream: how far it reaches follows from where the next one begins.
"""

import sqlite3
import time
from typing import Any

from msgspec.structs import replace

from forebay.buffer.crash import point
from forebay.buffer.database import PAGE_SIZE
from forebay.buffer.ledger import Outcome, SinkState
from forebay.buffer.reader import Damage
from forebay.buffer.transaction import Transaction, oldest_at

# A damaged column may hold anything, also what Python cannot decode.
_HEADER = """
    SELECT CAST(stream AS INTEGER), CAST(received_at AS REAL), CAST(size AS INTEGER),
           CAST(checksum AS INTEGER)
    FROM segments WHERE first_seq = ?
"""
_NEXT = """
    SELECT min(first_seq) FROM (
        SELECT min(first_seq) AS first_seq FROM segments WHERE first_seq > :first
        UNION ALL SELECT min(first_seq) FROM quarantine WHERE first_seq > :first
    )
"""
_DELETE = "DELETE FROM segments WHERE first_seq = ?"
_SET_ASIDE = "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_STREAM = "SELECT name FROM streams WHERE id = ?"
_REPLAYING = "SELECT count(*) FROM dead_letters WHERE sink = ? AND replaying = 1"


def quarantine(transaction: Transaction, damage: Damage) -> None:
    """Move the segment, with its bytes, out of every reader's way."""
    execute, first = transaction.database.execute, damage.first_seq
    header = execute(_HEADER, (first,)).fetchone()
    if header is None:
        return  # another sink's reader was here before
    next_seq = execute(_NEXT, {"first": first}).fetchone()[0] or transaction.next_seq
    _move(transaction, damage, next_seq - first, [column or 0 for column in header])
    transaction.count_quarantined()
    transaction.changes.oldest_at = oldest_at(transaction.database)
    found = execute(_STREAM, (header[0],)).fetchone()
    if found is not None:
        transaction.removed(found[0], next_seq - first)
    for name, sink in transaction.sinks().items():
        if found is None:
            waiting = _missing(transaction, name, sink)
        else:
            waiting = (
                sink.cursor.open_events(first, next_seq - 1)
                if sink.takes_at(found[0], first)
                else 0
            )
        if waiting:
            counted = sink.counted({Outcome.QUARANTINED: waiting})
            cursor = sink.cursor.settle(first, next_seq - 1)
            transaction.put_sink(name, replace(counted, cursor=cursor))
    point("quarantine.moved")


def _move(transaction: Transaction, damage: Damage, events: int, header: list[Any]) -> None:
    database, first = transaction.database, damage.first_seq
    attributes, data = _bytes(database, "attributes", first), _bytes(database, "data", first)
    # In this order: a full log has no room for both.
    database.execute(_DELETE, (first,))
    row = (first, events, *header, attributes or None, data, time.time(), damage.reason)
    database.execute(_SET_ASIDE, row)


def _bytes(database: sqlite3.Connection, column: str, first: int) -> bytes:
    """As much of a value as can be read."""
    read = bytearray()
    try:
        with database.blobopen("segments", column, first, readonly=True) as blob:
            while piece := blob.read(PAGE_SIZE):
                read += piece
    except sqlite3.Error:
        return bytes(read)
    return bytes(read)


def _missing(transaction: Transaction, name: str, sink: SinkState) -> int:
    """Events that count as waiting and are not there. Reads the headers of all that wait."""
    replaying: int = transaction.database.execute(_REPLAYING, (name,)).fetchone()[0]
    last = transaction.next_seq - 1
    return sink.lag - replaying - transaction.waiting(sink, sink.cursor.position, last)
