"""Dead letters: events that one sink will never take as they are, each with the reason.

settle ──► dead letter ──replay──► back in line ──► delivered: gone
▲                       │
└──── refused again ────┘
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from forebay.buffer.ledger import Outcome
from forebay.buffer.transaction import Transaction

ERROR_LENGTH: Final = 1000
"""Characters kept of what the sink said."""

_COLUMNS = (
    "id, sink, stream, seq, received_at, failed_at, attempts, status, error, attributes, event"
)
_INSERT = """
    INSERT INTO dead_letters
        (sink, stream, seq, received_at, failed_at, attempts, status, error, attributes, event)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_REFUSED_AGAIN = """
    UPDATE dead_letters SET replaying = 0, failed_at = ?, attempts = attempts + ?, status = ?,
        error = ?
    WHERE id = ? AND replaying = 1
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


@dataclass(frozen=True, slots=True)
class Selection:
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
        """The query for the next `limit` dead letters, in the order of their ids."""
        where, values = self.where()
        query = f"SELECT {_COLUMNS} FROM dead_letters WHERE {where} ORDER BY id LIMIT ?"
        return query, [*values, limit]


def waiting(sink: str, limit: int) -> tuple[str, list[Any]]:
    """The query for the letters of `sink` that are back in line."""
    query = (
        f"SELECT {_COLUMNS} FROM dead_letters WHERE sink = ? AND replaying = 1 ORDER BY id LIMIT ?"
    )
    return query, [sink, limit]


def from_row(row: Sequence[Any]) -> DeadLetter:
    """A dead letter as the queries above give it."""
    id_, *fields, attributes, event = row
    # mypy cannot see that the row has just the columns above
    found = attributes and json.loads(attributes)
    return DeadLetter(*fields, event, found, id_)  # type: ignore[call-arg]


def bury(transaction: Transaction, letters: Iterable[DeadLetter]) -> None:
    """Keep new dead letters. The caller counts their outcome."""
    rows = [_row(letter) for letter in letters]
    transaction.database.executemany(_INSERT, rows)
    _adjust(transaction, (row[0] for row in rows), +1)


def replay(transaction: Transaction, selection: Selection, limit: int) -> tuple[int, int]:
    """Put at most `limit` dead letters back in line; how many, and the last one's id."""
    return _each(transaction, selection, limit, _put_back)


def purge(transaction: Transaction, selection: Selection, limit: int) -> tuple[int, int]:
    """Delete at most `limit` dead letters; how many, and the last one's id."""
    return _each(transaction, selection, limit, _delete)


def delivered_again(transaction: Transaction, sink: str, ids: Sequence[int]) -> None:
    """Replayed letters were delivered: they are gone."""
    gone = sum(
        transaction.database.execute(
            "DELETE FROM dead_letters WHERE id = ? AND replaying = 1", (id_,)
        ).rowcount
        for id_ in ids
    )
    _count(transaction, sink, Outcome.DELIVERED, gone)


def refused_again(transaction: Transaction, sink: str, letters: Sequence[DeadLetter]) -> None:
    """Replayed letters came back, each as the one dead letter that it was."""
    back = sum(
        transaction.database.execute(
            _REFUSED_AGAIN,
            (letter.failed_at, letter.attempts, letter.status, letter.error[:ERROR_LENGTH],
             letter.id),
        ).rowcount
        for letter in letters
    )  # fmt: skip
    _count(transaction, sink, Outcome.DEAD_LETTERED, back)
    _adjust(transaction, [sink] * back, +1)


def _row(letter: DeadLetter) -> tuple[Any, ...]:
    attributes = None if letter.attributes is None else json.dumps(letter.attributes)
    return (
        letter.sink, letter.stream, letter.seq, letter.received_at, letter.failed_at,
        letter.attempts, letter.status, letter.error[:ERROR_LENGTH], attributes, letter.event,
    )  # fmt: skip


def _each(
    transaction: Transaction,
    selection: Selection,
    limit: int,
    change: Callable[[Transaction, int, str], None],
) -> tuple[int, int]:
    where, values = selection.where()
    rows = transaction.database.execute(
        f"SELECT id, sink FROM dead_letters WHERE {where} ORDER BY id LIMIT ?",
        [*values, limit],
    ).fetchall()
    for id_, sink in rows:
        change(transaction, id_, sink)
    _adjust(transaction, (sink for _, sink in rows), -1)
    return len(rows), rows[-1][0] if rows else selection.after


def _put_back(transaction: Transaction, id_: int, sink: str) -> None:
    transaction.database.execute("UPDATE dead_letters SET replaying = 1 WHERE id = ?", (id_,))
    if state := transaction.sink(sink):
        transaction.put_sink(sink, replace(state, replayed=state.replayed + 1))


def _delete(transaction: Transaction, id_: int, _sink: str) -> None:
    transaction.database.execute("DELETE FROM dead_letters WHERE id = ?", (id_,))


def _count(transaction: Transaction, sink: str, outcome: Outcome, events: int) -> None:
    if events and (state := transaction.sink(sink)):
        transaction.put_sink(sink, state.counted({outcome: events}))


def _adjust(transaction: Transaction, sinks: Iterable[str], by: int) -> None:
    for sink, letters in Counter(sinks).items():
        if state := transaction.sink(sink):
            dead_letters = state.dead_letters + by * letters
            transaction.put_sink(sink, replace(state, dead_letters=dead_letters))
