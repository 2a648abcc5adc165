"""Setting a damaged segment aside: it costs its own events, and nobody else's."""

import time
from dataclasses import replace

from forebay.buffer.ledger import Outcome
from forebay.buffer.reader import Damage
from forebay.buffer.subscriptions import open_events
from forebay.buffer.transaction import Transaction

_SET_ASIDE = "INSERT OR REPLACE INTO quarantine SELECT *, ?, ? FROM segments WHERE first_seq = ?"
_DELETE = "DELETE FROM segments WHERE first_seq = ? RETURNING events, stream"
_STREAM = "SELECT name FROM streams WHERE id = ?"


def quarantine(transaction: Transaction, damage: Damage) -> None:
    """Move the segment, with its bytes, out of every reader's way."""
    execute, first = transaction.database.execute, damage.first_seq
    execute(_SET_ASIDE, (time.time(), damage.reason, first))
    row = execute(_DELETE, (first,)).fetchone()
    if row is None:
        return  # another sink's reader was here before
    events, stream_id = row
    stream = execute(_STREAM, (stream_id,)).fetchone()[0]
    transaction.removed(stream, events)
    transaction.count_quarantined()
    last = first + events - 1
    for name, sink in transaction.sinks().items():
        if sink.takes(stream) and (waiting := open_events(sink.cursor, first, last)):
            counted = sink.counted({Outcome.QUARANTINED: waiting})
            transaction.put_sink(name, replace(counted, cursor=sink.cursor.settle(first, last)))
