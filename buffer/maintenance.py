"""What the writer does between commits: one bite at a time, and nothing while nothing is due.

expire, discard, forget   what is too old or too much goes
trim                      segments that every sink is done with go
vacuum, checkpoint        space goes back to the file system
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Final

from forebay.buffer import retention
from forebay.buffer.crash import point
from forebay.buffer.dead_letters import discard
from forebay.buffer.dedup import Dedup
from forebay.buffer.ledger import Ledger, Outcome
from forebay.buffer.options import BufferOptions, Durability
from forebay.buffer.transaction import Transaction

CHECKPOINT_IDLE: Final = 256
CHECKPOINT_BUSY: Final = 1024
"""WAL pages from which a checkpoint is due, when nobody waits and when somebody does."""
_HOUSEKEEPING_SECONDS: Final = 60.0
"""How often, at most, old dead letters and keys are looked for; only next to other work."""

Step = Callable[[Transaction], bool]


class Maintenance:
    """Decides what is due, and does one bite of it. Used on the writer's thread only."""

    def __init__(self, options: BufferOptions, dedup: Dedup) -> None:
        self._options = options
        self._dedup = dedup
        self._max_age = options.max_age.total_seconds() if options.max_age else inf
        letters_age = options.dead_letters_max_age
        self._letters_age = letters_age.total_seconds() if letters_age else inf
        self._letters_bytes = min(options.dead_letters_max_bytes, options.max_bytes // 2)
        self.wal_pages = 0
        """About how many pages of the WAL are not in the file yet."""
        self._trimmed_to = 0
        self._trim_again = True
        self._vacuum_due = True
        self._housekeeping_at = 0.0

    def restart(self) -> None:
        """The file was opened again: nothing is known of it."""
        self.wal_pages = CHECKPOINT_IDLE
        self._trim_again = self._vacuum_due = True

    def wait(self, ledger: Ledger, wall: float) -> float:
        """Seconds until something becomes due without any commit; infinite when nothing will."""
        return max(ledger.oldest_at + self._max_age - wall, 0.0) if ledger.oldest_at else inf

    def due(self, ledger: Ledger, wall: float, *, idle: bool) -> bool:
        """Whether there is a bite to take now."""
        return (
            self._checkpoint_due(idle=idle)
            or self._step(ledger, wall) is not None
            or (idle and self._vacuum_due)
        )

    def bite(
        self, database: sqlite3.Connection, ledger: Ledger, wall: float, *, idle: bool
    ) -> Transaction | None:
        """Do one thing that is due; the transaction if it was one, committed."""
        if self._checkpoint_due(idle=idle):
            left = retention.checkpoint(database)
            # Pages that a reader still needs are tried again after the next commits.
            self.wal_pages = min(left, CHECKPOINT_IDLE - 1)
            return None
        step = self._step(ledger, wall)
        with _unsynced(database, self._options.durability):
            if step is not None:
                self._vacuum_due = True
                return _commit(database, ledger, step)
            if idle and self._vacuum_due:
                pages = retention.vacuum(database, waiting=ledger.oldest_at > 0)
                self._vacuum_due = pages == retention.VACUUM_PAGES
                self.wal_pages += pages
        return None

    def _checkpoint_due(self, *, idle: bool) -> bool:
        return self.wal_pages >= (CHECKPOINT_IDLE if idle else CHECKPOINT_BUSY)

    def _step(self, ledger: Ledger, wall: float) -> Step | None:
        """The transaction that is due, if any."""
        before = wall - self._max_age
        if ledger.oldest_at and ledger.oldest_at <= before:  # just as give_up_oldest sees it
            return lambda tx: retention.give_up_oldest(tx, Outcome.EXPIRED, before)
        # Before trimming, which under load is due all the time: these have no right to the space.
        if self._letters_over(ledger):
            return lambda tx: discard(tx, self._letters_bytes, -inf)
        if self._dedup.crowded:
            return self._housekeep(wall)
        if self._trim_due(ledger):
            return self._trim(ledger.first_seq)
        if wall >= self._housekeeping_at:
            return self._housekeep(wall)
        return None

    def _trim_due(self, ledger: Ledger) -> bool:
        return bool(ledger.sinks) and (self._trim_again or ledger.first_seq > self._trimmed_to)

    def _trim(self, below: int) -> Step:
        def step(transaction: Transaction) -> bool:
            self._trim_again = retention.trim(transaction, below)
            self._trimmed_to = below
            return self._trim_again

        return step

    def _letters_over(self, ledger: Ledger) -> bool:
        kept = [sink.dead_letter_bytes for sink in ledger.sinks.values() if sink.dead_letters]
        return sum(kept) > self._letters_bytes

    def _housekeep(self, wall: float) -> Step:
        def step(transaction: Transaction) -> bool:
            more = self._dedup.forget(transaction, wall)
            if self._letters_age < inf:
                more |= discard(transaction, self._letters_bytes, wall - self._letters_age)
            self._housekeeping_at = wall if more else wall + _HOUSEKEEPING_SECONDS
            return more

        return step


def _commit(database: sqlite3.Connection, ledger: Ledger, step: Step) -> Transaction:
    transaction = Transaction(database, ledger)
    step(transaction)
    transaction.finish()
    transaction.commit()
    point("maintenance.committed")
    return transaction


@contextmanager
def _unsynced(database: sqlite3.Connection, durability: Durability) -> Iterator[None]:
    """Maintenance may be lost with the power, and done again: it does not wait for the disk."""
    if durability is Durability.OS:
        yield
        return
    database.execute("PRAGMA synchronous = NORMAL")
    yield
    # Not after an error: then a transaction may be open, which refuses this, and the connection is
    # given up anyway.
    database.execute("PRAGMA synchronous = FULL")
