"""Giving space back, in bites that no commit has to wait for long.

trim        deletes whole segments that every sink is done with
vacuum      gives free pages back to the file system
checkpoint  copies the WAL into the file
"""

import sqlite3
from typing import Final

from forebay.buffer import database as db
from forebay.buffer.transaction import Transaction, oldest_at

_BITE_SEGMENTS: Final = 256
_BITE_BYTES: Final = 1024 * 1024
_VACUUM_PAGES: Final = 256
_VACUUM_FROM: Final = 256
"""Free pages that are kept for the next events rather than given back."""

_OLDEST = """
    SELECT first_seq, events, streams.name, length(data)
    FROM segments JOIN streams ON streams.id = segments.stream
    WHERE first_seq < ? ORDER BY first_seq LIMIT ?
"""
_DELETE = "DELETE FROM segments WHERE first_seq <= ?"


def trim(transaction: Transaction, below: int) -> bool:
    """Delete one bite of segments that end below seq `below`; whether there may be more."""
    last, size, bitten = None, 0, 0
    rows = transaction.database.execute(_OLDEST, (below, _BITE_SEGMENTS)).fetchall()
    for first_seq, events, stream, length in rows:
        if first_seq + events > below or size > _BITE_BYTES:
            break
        last, size, bitten = first_seq, size + length, bitten + 1
        transaction.removed(stream, events)
    if last is None:
        return False
    transaction.database.execute(_DELETE, (last,))
    transaction.changes.oldest_at = oldest_at(transaction.database)
    return bitten == len(rows) == _BITE_SEGMENTS or size > _BITE_BYTES


def vacuum(database: sqlite3.Connection) -> bool:
    """Give back one bite of free pages; whether there are more to give."""
    free = db.free_pages(database)
    if free <= _VACUUM_FROM:
        return False
    # The pragma frees one page a step: fetchall takes it to its end.
    database.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
    return free - _VACUUM_PAGES > _VACUUM_FROM


def checkpoint(database: sqlite3.Connection) -> int:
    """Copy what readers allow from the WAL into the file; the pages that are left in it."""
    pages: int
    copied: int
    _busy, pages, copied = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return max(pages - copied, 0)
