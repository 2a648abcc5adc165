"""The buffer as everybody else sees it: append, read, settle.

append ──► packing ──► writer ──► segments ──► reader ──► (delivery) ──► settle ──► writer
                          └─────► tail ──────────▲
"""

import asyncio
import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import aiosqlite
import msgspec
from msgspec.structs import replace

from forebay.buffer import database as db
from forebay.buffer.dead_letters import (
    DeadLetter,
    Progress,
    Selection,
    forget,
    from_row,
    purge,
    replay,
    waiting,
)
from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferUnavailable
from forebay.buffer.ledger import Ledger, Outcome, SinkState
from forebay.buffer.operations import (
    Append,
    Call,
    Done,
    Note,
    Operation,
    Result,
    Settle,
    SettleReplayed,
)
from forebay.buffer.options import BufferOptions
from forebay.buffer.packing import Packing
from forebay.buffer.quarantine import quarantine
from forebay.buffer.reader import Damage, LogReader
from forebay.buffer.subscriptions import abandon, subscribe
from forebay.buffer.tail import Tail
from forebay.buffer.transaction import Transaction
from forebay.buffer.writer import Commit, Writer

T = TypeVar("T")

Listener = Callable[[SinkState], None]


class _Change(Protocol):
    def __call__(self, transaction: Transaction, selection: Selection, limit: int) -> Progress: ...


class CommitStats(msgspec.Struct, frozen=True):
    """One commit as a metric sees it."""

    events: int
    seconds: float
    lost: Mapping[tuple[str, Outcome], int]
    """Events dropped and expired, by sink and outcome."""


class Store:
    """One log in one file. Use from one event loop, between `open` and `close`."""

    def __init__(
        self,
        options: BufferOptions,
        *,
        wall: Callable[[], float] = time.time,
        observe: Callable[[CommitStats], None] = lambda _: None,
        dedup_window: float = 0.0,
    ) -> None:
        self.options = options
        self._lock = db.Lock(options.path)
        self._writer = Writer(options, self._publish_soon, wall, dedup_window)
        self._packing = Packing(self._writer.submit)
        self._observe = observe
        self._ledger = Ledger("", 1)
        self._fault: str | None = None
        self._ended: str | None = "the buffer is not open"
        self._tidy = asyncio.Event()
        self._line: list[Operation] = []
        self._tail = Tail()
        self._listeners: dict[str, Listener] = {}

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Open the file, or make it. Raises a BufferFault that says what to do."""
        self._loop = asyncio.get_running_loop()
        self.crashed: asyncio.Future[None] = self._loop.create_future()
        db.prepare(self.options.path)
        self._lock.acquire()
        try:
            self._ledger = await asyncio.to_thread(self._writer.open)
            self._connection = await aiosqlite.connect(
                db.reader_uri(self.options.path), uri=True, isolation_level=None
            )
        except BaseException as error:
            await asyncio.to_thread(self._writer.stop)
            self._lock.release()
            if not isinstance(error, sqlite3.Error):
                raise
            raise BufferUnavailable(
                f"cannot open {self.options.path}: {db.describe(error)}"
            ) from error
        self._ended = None
        self._writer.start()
        self._packing.start()

    async def close(self) -> None:
        """Write what waits, and let go of the file. What is asked from now on is refused."""
        self._hand_over()
        self._ended = self._ended or "the buffer is closing"
        await self._connection.close()
        await asyncio.to_thread(self._packing.stop)
        await asyncio.to_thread(self._writer.stop)
        self._give_up()
        self._lock.release()
        if not self.crashed.done():
            self.crashed.cancel()

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    def submit(self, entry: Entry, done: Done) -> None:
        """Store an entry; `done` learns of it once it is as durable as `buffer.durability` says.

        It is called with the receipt, or with BufferFull or BufferUnavailable when nothing was
        stored: on the event loop, once, and for all entries of a commit one after another, in
        their order. It must not raise. Raises BufferUnavailable at once while the disk refuses.
        """
        if (fault := self.fault) is not None:
            raise BufferUnavailable(fault)
        self._submit(Append(entry, done))

    def append(self, entry: Entry) -> asyncio.Future[Receipt]:
        """Store an entry: `submit` for who rather waits for a future."""
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.submit(entry, partial(_finish, future))
        return future

    def settle(
        self,
        sink: str,
        first: int,
        last: int,
        outcomes: dict[Outcome, int],
        letters: Sequence[DeadLetter] = (),
    ) -> None:
        """All of `first` to `last` is done for `sink`; durable within 250 ms.

        `letters` become dead letters in the same transaction.
        """
        if first <= last:
            self._submit(Settle(sink, first, last, outcomes, letters))

    def settle_replayed(
        self,
        sink: str,
        delivered: Sequence[int] = (),
        refused: Sequence[DeadLetter] = (),
        *,
        repeats: int = 0,
    ) -> None:
        """Replayed dead letters were delivered (their ids), or refused again.

        `repeats` is how often they were sent again after an answer that never came.
        """
        self._submit(SettleReplayed(sink, delivered, refused, repeats))

    async def record(self, sink: str, first: int, last: int) -> None:
        """Remember the boundaries of a batch before it is sent: a restart sends the same one."""

        def write(transaction: Transaction) -> None:
            if state := transaction.sink(sink):
                flying = (*state.in_flight, (first, last))
                transaction.put_sink(sink, replace(state, in_flight=flying))

        await self._call(write)

    async def subscribe(self, sink: str, streams: tuple[str, ...], *, start_now: bool) -> None:
        """Let a sink take streams (globs). One that is known goes on where it was."""
        await self._call(lambda tx: subscribe(tx, sink, streams, start_now=start_now))

    async def abandon(self, configured: Collection[str]) -> None:
        """Route nothing more to sinks that are not configured; keep what waits for them."""
        await self._call(lambda transaction: abandon(transaction, configured))

    async def forget(self, sink: str) -> None:
        """Let go of a sink: what waits for it, its dead letters, its counters."""
        await self.purge(Selection(sink=sink))
        await self._call(lambda transaction: forget(transaction, sink))
        self._listeners.pop(sink, None)

    async def quarantine(self, damage: Damage) -> None:
        """Set a segment aside that could not be read, and count its events for every sink."""
        await self._call(lambda transaction: quarantine(transaction, damage))

    def note(self, sink: str, text: str) -> None:
        """Keep a JSON object for a sink: `sink(name).notes`, also after a restart."""
        self._submit(Note(sink, text))

    async def replay(self, selection: Selection) -> int:
        """Put dead letters back in line, for their own sink alone; how many."""
        return (await self.replay_part(selection)).letters

    async def purge(self, selection: Selection) -> int:
        """Delete dead letters; how many."""
        return (await self.purge_part(selection)).letters

    async def replay_part(self, selection: Selection, limit: int | None = None) -> Progress:
        """Put the first `limit` dead letters back in line: for who wants to see it go on."""
        return await self._in_bites(replay, selection, limit)

    async def purge_part(self, selection: Selection, limit: int | None = None) -> Progress:
        """Delete the first `limit` dead letters."""
        return await self._in_bites(purge, selection, limit)

    async def _in_bites(self, change: _Change, selection: Selection, limit: int | None) -> Progress:
        """No transaction is so large that a commit waits long for it."""
        total, rest = 0, selection
        while True:
            left = sys.maxsize if limit is None else limit - total
            part = await self._call(partial(change, selection=rest, limit=left))
            total += part.letters
            if part.rest is None or total == limit:
                return Progress(total, part.rest)
            rest = part.rest

    async def flush(self) -> None:
        """Wait until all that was asked so far is durable."""
        await self._call(lambda _: None)

    async def tidy(self) -> None:
        """Wait until the space of what is done with was given back. For when nobody appends."""
        await self.flush()
        await self._tidy.wait()

    async def _call(self, function: Callable[[Transaction], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._submit(Call(function, future))
        return await future

    def _submit(self, operation: Operation) -> None:
        if self._ended is not None:
            operation.lost(BufferUnavailable(self._ended))
            return
        # What comes in one turn of the event loop is handed on together.
        if not self._line:
            self._loop.call_soon(self._hand_over)
        self._line.append(operation)

    def _hand_over(self) -> None:
        if self._line:
            self._packing.submit(self._line)
            self._line = []

    # ── after each commit ────────────────────────────────────────────────────────────────────

    def _publish_soon(self, commit: Commit) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(self._publish, commit)

    def _publish(self, commit: Commit) -> None:
        before = self._ledger.sinks
        if commit.reloaded is not None:
            self._ledger = commit.reloaded
            self._tail.clear()
        # A commit that wrote no counters only appended.
        lost = self._ledger.losses(commit.changes) if commit.changes.counted else {}
        grown = self._grown(before, commit)
        self._ledger.merge(commit.changes)
        self._tail.extend(commit.slices)
        self._tail.follow(commit.changes)
        if commit.tidy:
            self._tidy.set()
        else:
            self._tidy.clear()
        self._set_fault(commit)
        for append in commit.appends:
            self._tell(append.finish)
        for write in commit.writes:
            self._tell(write.committed)
        if commit.events or lost:
            self._observe(CommitStats(commit.events, commit.seconds, lost))
        for name in grown:
            if name in self._listeners and name in self._ledger.sinks:
                self._listeners[name](self._ledger.sinks[name])

    def _tell(self, who: Callable[[], None]) -> None:
        """Who waits behind somebody that fails must be told all the same."""
        try:
            who()
        except Exception as error:  # noqa: BLE001  see above
            told = {"message": "what was stored could not be told", "exception": error}
            self._loop.call_exception_handler(told)

    def _grown(self, before: Mapping[str, SinkState], commit: Commit) -> list[str]:
        """The sinks that something new waits for."""
        if commit.reloaded is not None:
            return list(self._ledger.sinks)
        return [
            name
            for name, sink in commit.changes.sinks.items()
            if sink is not None and (name not in before or sink.came > before[name].came)
        ]

    def _set_fault(self, commit: Commit) -> None:
        self._fault = commit.fault and f"the disk refuses writes: {commit.fault}"
        if commit.crash is not None:
            self._ended = f"the writer has failed: {commit.crash!r}"
            if not self.crashed.done():
                self.crashed.set_exception(commit.crash)
            self._give_up()

    def _give_up(self) -> None:
        """Nothing will be written any more: tell who waits."""
        error = BufferUnavailable(self._ended)
        self._packing.stop()
        for operation in [*self._writer.unwritten(), *self._line]:
            self._tell(partial(operation.lost, error))
        self._line = []
        self._tidy.set()

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def reader(self, sink: str) -> LogReader:
        """A reader from where `sink` is; it must be subscribed."""
        return LogReader(sink, lambda: self._ledger, self._connection, self._tail)

    def watch(self, sink: str, listener: Listener) -> None:
        """Call `listener` after each commit with something new for `sink`; the newest is called."""
        self._listeners[sink] = listener

    def unwatch(self, sink: str) -> None:
        """Call nobody for that sink any more."""
        self._listeners.pop(sink, None)

    async def dead_letters(self, selection: Selection, limit: int) -> list[DeadLetter]:
        """The next dead letters, in the order of their ids.

        At most `limit`, and about 8 MiB of events; only an empty answer is the end.
        """
        return await self._letters(*selection.page(limit))

    async def replaying(self, sink: str, limit: int) -> list[DeadLetter]:
        """The first dead letters of `sink` that are back in line."""
        return await self._letters(*waiting(sink, limit))

    async def _letters(self, query: str, parameters: list[Any]) -> list[DeadLetter]:
        try:
            rows = await self._connection.execute_fetchall(query, parameters)
        except sqlite3.Error as error:
            raise BufferUnavailable(f"dead letters cannot be read: {db.describe(error)}") from error
        return [from_row(tuple(row)) for row in rows]

    def subscribers(self, stream: str) -> tuple[str, ...]:
        """The sinks that take `stream`."""
        return self._ledger.subscribers(stream)

    def sink(self, name: str) -> SinkState:
        """Where a sink is, and what became of its events, as of the last commit."""
        return self._ledger.sinks[name]

    @property
    def ledger(self) -> Ledger:
        """The state after the last commit. Read it, do not keep it, do not change it."""
        return self._ledger

    @property
    def fault(self) -> str | None:
        """Why nothing can be stored now; None when all is well."""
        return self._ended or self._fault


def _finish(future: asyncio.Future[Receipt], result: Result) -> None:
    if future.done():
        return  # who waited went away
    if isinstance(result, Receipt):
        future.set_result(result)
    else:
        future.set_exception(result)
        future.exception()  # who waited may go away before it looks
