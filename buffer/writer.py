"""The writer: one thread, and the only one that writes or checkpoints.

    packing ──► queue ──► gather all that waits ──► one transaction, one sync ──► publish
                              ▲                                                    │
                              └──────── a bite of trim, vacuum, checkpoint ◄───────┘

There is no timer: while one commit is on its way to disk, the next group gathers.
"""

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Final

import msgspec

from forebay.buffer import database as db
from forebay.buffer.appender import Appender, refusal
from forebay.buffer.crash import point
from forebay.buffer.dedup import Dedup
from forebay.buffer.errors import BufferFault, BufferUnavailable
from forebay.buffer.ledger import Changes, Ledger
from forebay.buffer.maintenance import Maintenance
from forebay.buffer.operations import Append, Operation, Write
from forebay.buffer.options import BufferOptions
from forebay.buffer.segment import Slice
from forebay.buffer.transaction import Transaction, load

LAZY_SECONDS: Final = 0.1
"""How long lazy operations wait for a commit that comes anyway."""
_REOPEN_SECONDS: Final = 0.5
_BITE_SECONDS: Final = 0.02
"""Under load, the least time between two bites of maintenance."""
_PAGES_PER_COMMIT: Final = 6
"""WAL pages of a commit beside its segments: tree nodes, counters. An estimate."""
_PAGES_PER_APPEND: Final = 2
"""The same, of a commit that writes no counters."""
_FREED_PER_PAGE: Final = 4 * db.PAGE_SIZE
"""Bytes freed for which a page of free list and tree is written. An estimate."""


class Commit(msgspec.Struct):
    """What the writer tells the event loop after each group."""

    changes: Changes = msgspec.field(default_factory=Changes)
    appends: list[Append] = msgspec.field(default_factory=list)
    writes: list[Write] = msgspec.field(default_factory=list)
    slices: list[Slice] = msgspec.field(default_factory=list)
    """The events that were stored, for those who read the end of the log."""
    events: int = 0
    seconds: float = 0.0
    fault: str | None = None
    """Why the disk refuses writes, while it does."""
    reloaded: Ledger | None = None
    """The ledger as it was found in a file that had to be opened again."""
    crash: BaseException | None = None
    """The thread ended with a fault of ours. Nothing more will be written."""
    tidy: bool = False
    """Nothing is left to trim, to give back or to checkpoint."""


class _Stop:
    pass


class Writer:
    """Runs from `start` to `stop`; `publish` is called on its thread after each group.

    `open` comes before, so that its ledger is in place before the first change to it is published.
    """

    def __init__(
        self,
        options: BufferOptions,
        publish: Callable[[Commit], None],
        wall: Callable[[], float] = time.time,
        dedup_window: float = 0.0,
    ) -> None:
        self._options = options
        self._publish = publish
        self._wall = wall
        self._queue: queue.SimpleQueue[list[Operation] | _Stop] = queue.SimpleQueue()
        dedup = Dedup(dedup_window, options.max_bytes)
        self._appender = Appender(options.max_bytes, options.when_full, dedup)
        self._maintenance = Maintenance(options, dedup)
        self._thread = threading.Thread(target=self._run, name="forebay-writer", daemon=True)
        self._database: sqlite3.Connection | None = None
        self._ledger = Ledger("", 1)
        self._kept: list[Write] = []
        self._lazy: list[Operation] = []
        """Asked for, and waiting for a commit that comes anyway."""
        self._lazy_until = 0.0
        self._stopping = False
        self._last_bite = 0.0
        self._tidy = False

    # ── from the event loop ──────────────────────────────────────────────────────────────────

    def open(self) -> Ledger:
        """Open the file. Blocks; raises sqlite3.Error or a BufferFault."""
        self._open()
        return self._copy()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def submit(self, operations: list[Operation]) -> None:
        """Put operations in line; they are written in this order."""
        self._queue.put(operations)

    def stop(self) -> None:
        """Write what is in line, and end. Blocks."""
        if self._thread.ident is None:
            self._abandon()
        else:
            self._queue.put(_Stop())
            self._thread.join()

    def unwritten(self) -> list[Operation]:
        """What was asked and will never be written, after `stop` or a crash."""
        operations: list[Operation] = [*self._kept, *self._lazy]
        self._kept, self._lazy = [], []
        while not self._queue.empty():
            item = self._queue.get_nowait()
            operations += [] if isinstance(item, _Stop) else item
        return operations

    # ── on the thread ────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while not self._stopping:
                operations = self._gather()
                if operations or self._kept or self._database is None:
                    self._write(operations)
                else:  # woken by time, which may have made something due
                    self._tidy = False
                if self._database is not None and not self._tidy:
                    self._maintain(idle=self._queue.empty())
            self._close_books()
        except BaseException as error:
            self._publish(Commit(crash=error))
            raise
        finally:
            self._abandon()

    def _gather(self) -> list[Operation]:
        """All that waits. Blocks until something urgent does, or lazy things waited enough.

        Lazy things do not keep maintenance from its work: they wait on beside it.
        """
        operations, self._lazy = self._lazy, []
        patience, urgent = self._patience(), False
        until = None if patience is None else time.monotonic() + patience
        while True:
            try:
                item = self._next(urgent=urgent, until=until, lazy=bool(operations))
            except queue.Empty:
                if operations and not urgent and time.monotonic() < self._lazy_until:
                    self._lazy = operations
                    return []
                return operations
            if isinstance(item, _Stop):
                self._stopping = urgent = True
                continue
            if not operations:
                self._lazy_until = time.monotonic() + LAZY_SECONDS
            operations += item
            urgent = urgent or not all(isinstance(op, Write) and op.lazy for op in item)

    def _next(self, *, urgent: bool, until: float | None, lazy: bool) -> list[Operation] | _Stop:
        """What is in line next. Raises queue.Empty where it is not worth to wait for it longer."""
        if urgent:
            return self._queue.get_nowait()
        if lazy:
            until = self._lazy_until if until is None else min(until, self._lazy_until)
        if until is None:
            return self._queue.get()
        return self._queue.get(timeout=max(until - time.monotonic(), 0))

    def _patience(self) -> float | None:
        """How long to wait for the next operation; None is for ever."""
        if self._database is None:
            return _REOPEN_SECONDS
        if not self._tidy:
            return 0.0
        seconds = self._maintenance.wait(self._ledger, self._wall())
        return None if seconds == inf else seconds

    def _write(self, operations: Iterable[Operation]) -> None:
        commit = Commit(writes=self._kept)
        self._kept = []
        for operation in operations:
            if isinstance(operation, Append):
                commit.appends.append(operation)
            else:
                commit.writes.append(operation)
        try:
            if self._database is None:
                self._reopen(commit)
            self._commit(commit)
        except sqlite3.Error as error:
            self._refuse(commit, error)
        except BaseException as error:  # a fault of ours: who waits is told before the thread ends
            self._refuse(commit, error)
            self._publish(commit)
            raise
        self._publish(commit)

    def _commit(self, commit: Commit) -> None:
        """One transaction: appends first, then all else. Nothing is merged unless it commits."""
        began, database = time.perf_counter(), self._connection()
        transaction = Transaction(database, self._ledger)
        point("commit.begin")
        commit.slices = self._appender.append(
            transaction, commit.appends, self._wall(), self._ledger.used_bytes
        )
        for write in commit.writes:
            write.write(transaction)
        transaction.finish()
        point("commit.inserted")
        transaction.commit()
        point("commit.committed")
        commit.events = transaction.next_seq - self._ledger.next_seq
        used = self._finish(transaction, commit)
        pages = _PAGES_PER_COMMIT if transaction.changes.counted else _PAGES_PER_APPEND
        self._maintenance.wal_pages += max(used, 0) // db.PAGE_SIZE + pages
        self._look_what_is_due(commit)
        commit.seconds = time.perf_counter() - began

    def _finish(self, transaction: Transaction, commit: Commit) -> int:
        """Merge a committed transaction, here and (with `commit`) on the loop; bytes it added."""
        before, changes = self._ledger.used_bytes, transaction.changes
        changes.used_bytes = (
            db.used_bytes(self._connection()) if transaction.begun else before + changes.grown
        )
        self._ledger.merge(changes)
        commit.changes = changes
        return self._ledger.used_bytes - before

    def _look_what_is_due(self, commit: Commit) -> None:
        due = self._maintenance.due(self._ledger, self._wall(), idle=True)
        self._tidy = commit.tidy = not due

    # ── between commits ──────────────────────────────────────────────────────────────────────

    def _maintain(self, *, idle: bool) -> None:
        if not idle and time.monotonic() - self._last_bite < _BITE_SECONDS:
            return
        if not self._maintenance.due(self._ledger, self._wall(), idle=idle):
            self._tidy = idle
            return
        commit, database = Commit(), self._connection()
        try:
            transaction = self._maintenance.bite(database, self._ledger, self._wall(), idle=idle)
            if transaction is not None:
                freed = -self._finish(transaction, commit)
                self._maintenance.wal_pages += _PAGES_PER_COMMIT + max(freed, 0) // _FREED_PER_PAGE
            self._look_what_is_due(commit)
        except sqlite3.Error as error:
            self._refuse(commit, error)
        self._last_bite = time.monotonic()
        self._publish(commit)

    def _close_books(self) -> None:
        """Let nothing have to be told from segments in a file that was closed in order."""
        if self._database is None or not self._ledger.uncounted.segments:
            return
        with contextlib.suppress(sqlite3.Error):  # `load` can do without
            transaction = Transaction(self._database, self._ledger)
            transaction.finish(counted=True)
            transaction.commit()

    # ── when the disk refuses ────────────────────────────────────────────────────────────────

    def _refuse(self, commit: Commit, error: BaseException) -> None:
        """Nothing of the group is stored. Appends fail, all else is kept for the next try."""
        capacity_hit = db.is_full(error) and self._at_limit()
        for append in commit.appends:
            append.result = (
                refusal(self._options.max_bytes) if capacity_hit else _unavailable(error)
            )
        self._kept = commit.writes
        commit.writes, commit.slices, commit.changes, commit.events = [], [], Changes(), 0
        commit.fault = db.describe(error)
        self._abandon()

    def _at_limit(self) -> bool:
        try:
            pages = db.file_pages(self._connection())
        except sqlite3.Error:
            return False
        return bool(pages * db.PAGE_SIZE >= self._options.max_bytes)

    def _abandon(self) -> None:
        """A connection whose write or sync failed is not trusted again."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _reopen(self, commit: Commit) -> None:
        try:
            self._open()
            self._connection().execute("BEGIN IMMEDIATE")
            self._connection().execute("UPDATE log SET next_seq = next_seq")
            self._connection().execute("COMMIT")
        except (sqlite3.Error, BufferFault) as error:
            self._abandon()
            if isinstance(error, sqlite3.Error):
                raise
            raise sqlite3.OperationalError(str(error)) from error
        commit.reloaded = self._copy()

    def _open(self) -> None:
        self._database = db.open_writer(self._options)
        self._ledger = load(self._database)
        self._ledger.used_bytes = db.used_bytes(self._database)
        self._maintenance.restart()

    def _copy(self) -> Ledger:
        """The ledger as it stands in the file, for the event loop to keep."""
        ledger = load(self._connection())
        ledger.used_bytes = self._ledger.used_bytes
        return ledger

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise sqlite3.OperationalError("the file is not open")
        return self._database


def _unavailable(error: BaseException) -> BufferUnavailable:
    who = "the disk refuses writes" if isinstance(error, sqlite3.Error) else "the writer has failed"
    return BufferUnavailable(f"{who}: {db.describe(error)}")
