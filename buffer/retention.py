"""Giving space back, in bites that no commit has to wait for long.

trim        deletes whole segments that every sink is done with
vacuum      gives free pages back to the file system
checkpoint  copies the WAL into the file
"""

import sqlite3
from itertools import zip_longest
from math import inf
from typing import Final

from msgspec.structs import replace

from forebay.buffer import database as db
from forebay.buffer.crash import point
from forebay.buffer.ledger import Outcome
from forebay.buffer.transaction import Transaction, oldest_at

_BITE_SEGMENTS: Final = 256
_BITE_BYTES: Final = 1024 * 1024
VACUUM_PAGES: Final = 64
_VACUUM_FROM: Final = 256
"""Free pages that are kept for the next events rather than given back."""

_OLDEST = """
    SELECT first_seq, CAST(events AS INTEGER), streams.name, length(data)
    FROM segments JOIN streams ON streams.id = segments.stream
    WHERE first_seq < ? ORDER BY first_seq LIMIT ?
"""
_FIRST = """
    SELECT first_seq, CAST(received_at AS REAL), CAST(events AS INTEGER), streams.name
    FROM segments JOIN streams ON streams.id = segments.stream ORDER BY first_seq LIMIT 1
"""
_SECOND = "SELECT coalesce(min(first_seq), ?) FROM segments WHERE first_seq > ?"
_DELETE = "DELETE FROM segments WHERE first_seq <= ?"


def trim(transaction: Transaction, below: int) -> bool:
    """Delete one bite of segments that end below seq `below`; whether there may be more."""
    last, size, bitten = None, 0, 0
    rows = transaction.database.execute(_OLDEST, (below, _BITE_SEGMENTS)).fetchall()
    following = [row[0] for row in rows[1:]]
    for (first_seq, events, stream, length), next_seq in zip_longest(rows, following):
        end = min(first_seq + events, next_seq or below + 1)  # whatever a damaged count says
        if end > below or size > _BITE_BYTES:
            break
        last, size, bitten = first_seq, size + length, bitten + 1
        transaction.removed(stream, end - first_seq)
    if last is None:
        return False
    transaction.database.execute(_DELETE, (last,))
    transaction.changes.stored_from = last + 1
    point("maintenance.trimmed")
    transaction.changes.oldest_at = oldest_at(transaction.database)
    return bitten == len(rows) == _BITE_SEGMENTS or size > _BITE_BYTES


def give_up_oldest(transaction: Transaction, outcome: Outcome, before: float = inf) -> bool:
    """Delete the oldest segment, if it did not come after `before`, whoever still waits for it.

    Its events are counted with `outcome` for every sink that was not done with them. Returns
    whether there was one.
    """
    row = transaction.database.execute(_FIRST).fetchone()
    if row is None or row[1] > before:
        return False
    first, _, events, stream = row
    # A damaged count must not take the cursors further than this segment.
    second = transaction.database.execute(_SECOND, (transaction.next_seq, first)).fetchone()[0]
    last = min(first + events, second) - 1
    for name, sink in transaction.sinks().items():
        waiting = sink.cursor.open_events(first, last) if sink.takes_at(stream, first) else 0
        # Nothing older is left, so the cursor may go past all of it: no gap remains below.
        cursor = sink.cursor.settle(sink.cursor.position, last)
        if waiting:
            sink = sink.counted({outcome: waiting})  # noqa: PLW2901  the same sink, counted
        transaction.put_sink(name, replace(sink, cursor=cursor))
    transaction.removed(stream, events)
    transaction.database.execute(_DELETE, (first,))
    transaction.changes.stored_from = last + 1
    point("maintenance.expired")
    transaction.changes.oldest_at = oldest_at(transaction.database)
    return True


def vacuum(database: sqlite3.Connection, *, waiting: bool) -> int:
    """Give back one bite of free pages; how many. A bite that is not full was the last.

    While events wait, those at the file's end are moved into the gap for that, only to be deleted
    there later: so most of the file must be free before it is worth it.
    """
    kept = max(_VACUUM_FROM, db.file_pages(database) // 2 if waiting else 0)
    pages = min(db.free_pages(database) - kept, VACUUM_PAGES)
    if pages <= 0:
        return 0
    # The pragma frees one page a step and has no columns: of Python's calls only executescript
    # takes it to its end.
    database.executescript(f"PRAGMA incremental_vacuum({pages})")
    return pages


def checkpoint(database: sqlite3.Connection) -> int:
    """Copy what readers allow from the WAL into the file; the pages that are left in it."""
    pages: int
    copied: int
    point("checkpoint.before")
    _busy, pages, copied = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    point("checkpoint.after")
    return max(pages - copied, 0)
