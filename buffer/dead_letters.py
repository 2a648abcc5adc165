"""Dead letters: events that one sink will never take as they are, each with the reason.

settle ──► dead letter ──replay──► back in line ──► delivered: gone
▲                       │
└──── refused again ────┘
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from forebay.buffer import database as db
from forebay.buffer.crash import point
from forebay.buffer.ledger import Outcome
from forebay.buffer.transaction import Transaction

ERROR_LENGTH: Final = 1000
"""Characters kept of what the sink said."""
PAGE_BYTES: Final = 8 * 1024 * 1024
"""Events read at once, in bytes: a page ends here, whatever its limit. One event always fits."""
_BITE: Final = 1000
_KEPT_FREE: Final = 512 * db.PAGE_SIZE
"""Room that letters leave: a full log needs it to move its cursors, and so to empty itself."""

_COLUMNS = (
    "id, sink, stream, seq, received_at, failed_at, attempts, status, error, event, attributes"
)
_INSERT = """
    INSERT INTO dead_letters
        (sink, stream, seq, received_at, failed_at, attempts, status, error, event, attributes)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# The sizes are in the rows' headers: only the events that fit are read.
_PAGE = f"""
    WITH page AS (SELECT id, length(event) AS size FROM dead_letters
                  WHERE %s ORDER BY id LIMIT ?),
         sums AS (SELECT id AS fitting, sum(size) OVER (ORDER BY id) AS total, size FROM page)
    SELECT {_COLUMNS} FROM sums JOIN dead_letters ON id = fitting
    WHERE total <= {PAGE_BYTES} OR total = size ORDER BY id
"""
_WAITING = "sink = ? AND replaying = 1"
_PUT_BACK = "UPDATE dead_letters SET replaying = 1 WHERE id = ?"
_REFUSED_AGAIN = """
    UPDATE dead_letters
    SET replaying = 0, failed_at = ?, attempts = attempts + ?, status = ?, error = ?
    WHERE id = ? AND replaying = 1
"""
_DELIVERED = "DELETE FROM dead_letters WHERE id = ? AND replaying = 1 RETURNING length(event)"
_DELETE = "DELETE FROM dead_letters WHERE id = ?"
_FORGET = "DELETE FROM dead_letters WHERE sink = ?"
_OLDEST = f"""
    SELECT id, sink, length(event), failed_at FROM dead_letters
    WHERE replaying = 0 ORDER BY failed_at, id LIMIT {_BITE}
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One event, and why its sink did not take it. Times are seconds since the epoch."""

    sink: str
    stream: str
    seq: int
    received_at: float
    failed_at: float
    attempts: int
    status: int | None
    error: str
    event: bytes
    attributes: dict[str, str] | None = None
    id: int = 0
    """Given by the log."""


class Selection(msgspec.Struct, frozen=True):
    """Which dead letters: all that match everything that is given."""

    sink: str | None = None
    stream: str | None = None
    ids: tuple[int, ...] | None = None
    after: int = 0
    """Only those with a greater id: where a page begins."""

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, with its parameters."""
        terms = ["replaying = 0", "id > ?"]
        values: list[Any] = [self.after]
        if self.sink is not None:
            terms.append("sink = ?")
            values.append(self.sink)
        if self.stream is not None:
            terms.append("stream = ?")
            values.append(self.stream)
        if self.ids is not None:
            terms.append("id IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(self.ids))
        return " AND ".join(terms), values

    def page(self, limit: int) -> tuple[str, list[Any]]:
        """The query for the next dead letters, in the order of their ids.

        At most `limit`, and no more than `PAGE_BYTES` of events: only an empty page is the end.
        """
        where, values = self.where()
        return _PAGE % where, [*values, limit]


@dataclass(frozen=True, slots=True)
class Progress:
    """How many letters were changed, and those that are still to be looked at; None for none."""

    letters: int
    rest: Selection | None = None


def waiting(sink: str, limit: int) -> tuple[str, list[Any]]:
    """The query for the first letters of `sink` that are back in line; bounded as a page is."""
    return _PAGE % _WAITING, [sink, limit]


def from_row(row: Sequence[Any]) -> DeadLetter:
    """A dead letter as the queries above give it."""
    id_, *fields, attributes = row
    # mypy cannot see that the row has just the columns above
    return DeadLetter(*fields, attributes and json.loads(attributes), id_)  # type: ignore[call-arg]


def bury(transaction: Transaction, letters: Sequence[DeadLetter]) -> None:
    """Keep new dead letters. The caller counts their outcome.

    Where the file has no room left for one, older ones make it; where that is not enough, it is
    discarded itself. A settle that fails for want of room would be tried for ever.
    """
    if sum(map(_space, letters)) > db.room(transaction.database) - _KEPT_FREE:
        for letter in letters:
            if _make_room(transaction, _space(letter)):
                _insert(transaction, [letter])
            else:
                _count_discarded(transaction, Counter([letter.sink]))
    else:
        _insert(transaction, letters)
    if letters:
        point("dead_letters.buried")


def replay(transaction: Transaction, selection: Selection, limit: int) -> Progress:
    """Put dead letters back in line: at most `limit`, and no more than a transaction's worth."""
    part = _each(transaction, selection, limit, _put_back)
    point("dead_letters.put_back")
    return part


def purge(transaction: Transaction, selection: Selection, limit: int) -> Progress:
    """Delete dead letters: at most `limit`, and no more than a transaction's worth."""
    return _each(transaction, selection, limit, _delete)


def delivered_again(transaction: Transaction, sink: str, ids: Sequence[int]) -> int:
    """Replayed letters were delivered: they are gone. How many of them still waited."""
    sizes = [
        row[0]
        for id_ in ids
        if (row := transaction.database.execute(_DELIVERED, (id_,)).fetchone())
    ]
    _count(transaction, sink, Outcome.DELIVERED, len(sizes))
    _adjust(transaction, sink, letters=0, size=-sum(sizes))
    return len(sizes)


def refused_again(transaction: Transaction, sink: str, letters: Sequence[DeadLetter]) -> int:
    """Replayed letters came back, each as the one that it was. How many of them still waited."""
    back = 0
    for letter in letters:
        error = letter.error[:ERROR_LENGTH]
        values = (letter.failed_at, letter.attempts, letter.status, error, letter.id)
        back += transaction.database.execute(_REFUSED_AGAIN, values).rowcount
    _count(transaction, sink, Outcome.DEAD_LETTERED, back)
    _adjust(transaction, sink, letters=back, size=0)
    return back


def sent_again(transaction: Transaction, sink: str, events: int) -> None:
    """Count replayed events that were sent again after an answer that never came."""
    _count(transaction, sink, Outcome.POSSIBLE_DUPLICATE, events)


def forget(transaction: Transaction, sink: str) -> None:
    """Let go of a sink, with the letters that were back in line for it."""
    transaction.database.execute(_FORGET, (sink,))
    transaction.put_sink(sink, None)


def discard(transaction: Transaction, most_bytes: int, before: float) -> bool:
    """Delete one bite of the oldest letters that are too many or too old; whether there was any.

    They were counted as dead-lettered; that they are gone is counted as `discarded`.
    """
    surplus = sum(sink.dead_letter_bytes for sink in transaction.sinks().values()) - most_bytes
    return _discard(transaction, surplus, before)


def _discard(transaction: Transaction, surplus: int, before: float) -> bool:
    """Delete the oldest letters: `surplus` bytes of them, and all that failed before `before`."""
    gone: Counter[str] = Counter()
    for id_, sink, size, failed_at in transaction.database.execute(_OLDEST).fetchall():
        if surplus <= 0 and failed_at >= before:
            break
        _delete(transaction, id_, sink, size)
        _adjust(transaction, sink, letters=-1, size=0)
        surplus -= size
        gone[sink] += 1
    _count_discarded(transaction, gone)
    return bool(gone)


def _count_discarded(transaction: Transaction, gone: Counter[str]) -> None:
    for sink, letters in gone.items():
        if state := transaction.sink(sink):
            transaction.put_sink(sink, replace(state, discarded=state.discarded + letters))


def _make_room(transaction: Transaction, size: int) -> bool:
    """Discard the oldest letters until `size` bytes fit into the file; False when they never do."""
    while (lack := size - (db.room(transaction.database) - _KEPT_FREE)) > 0:
        if not _discard(transaction, lack, -inf):
            return False
    return True


def _space(letter: DeadLetter) -> int:
    """Bytes of the file that a letter takes, at most: its pages, and its places in the trees."""
    texts = len(letter.error) + sum(len(k) + len(v) for k, v in (letter.attributes or {}).items())
    return ((len(letter.event) + 4 * texts) // (db.PAGE_SIZE - 4) + 2) * db.PAGE_SIZE


def _insert(transaction: Transaction, letters: Sequence[DeadLetter]) -> None:
    transaction.database.executemany(_INSERT, [_row(letter) for letter in letters])
    for letter in letters:
        _adjust(transaction, letter.sink, letters=1, size=len(letter.event))


def _row(letter: DeadLetter) -> tuple[Any, ...]:
    attributes = None if letter.attributes is None else json.dumps(letter.attributes)
    return (
        letter.sink, letter.stream, letter.seq, letter.received_at, letter.failed_at,
        letter.attempts, letter.status, letter.error[:ERROR_LENGTH], letter.event, attributes,
    )  # fmt: skip


def _each(
    transaction: Transaction,
    selection: Selection,
    limit: int,
    change: Callable[[Transaction, int, str, int], None],
) -> Progress:
    where, values = selection.where()
    rows = transaction.database.execute(
        f"SELECT id, sink, length(event) FROM dead_letters WHERE {where} ORDER BY id LIMIT ?",
        [*values, bite := min(limit, _BITE)],
    ).fetchall()
    for id_, sink, size in rows:
        change(transaction, id_, sink, size)
        _adjust(transaction, sink, letters=-1, size=0)
    more = len(rows) == bite and len(rows) > 0
    return Progress(len(rows), replace(selection, after=rows[-1][0]) if more else None)


def _put_back(transaction: Transaction, id_: int, sink: str, _size: int) -> None:
    transaction.database.execute(_PUT_BACK, (id_,))
    if state := transaction.sink(sink):
        transaction.put_sink(sink, replace(state, replayed=state.replayed + 1))


def _delete(transaction: Transaction, id_: int, sink: str, size: int) -> None:
    transaction.database.execute(_DELETE, (id_,))
    _adjust(transaction, sink, letters=0, size=-size)


def _count(transaction: Transaction, sink: str, outcome: Outcome, events: int) -> None:
    if events and (state := transaction.sink(sink)):
        transaction.put_sink(sink, state.counted({outcome: events}))


def _adjust(transaction: Transaction, sink: str, *, letters: int, size: int) -> None:
    if state := transaction.sink(sink):
        changed = replace(
            state,
            dead_letters=state.dead_letters + letters,
            dead_letter_bytes=state.dead_letter_bytes + size,
        )
        transaction.put_sink(sink, changed)
