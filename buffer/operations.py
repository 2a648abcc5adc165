"""What can be asked of the writer. Each operation is one step of a transaction.

`write` runs on the writer's thread inside the transaction; `committed` and `failed` run on the
event loop once its fate is known. An operation that is not an `Append` is tried again until it is
written: it may be written twice around a failing disk, and must count once.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec
from msgspec.structs import replace

from forebay.buffer.crash import point
from forebay.buffer.dead_letters import DeadLetter, bury, delivered_again, refused_again, sent_again
from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferFault
from forebay.buffer.ledger import Outcome
from forebay.buffer.segment import Piece
from forebay.buffer.transaction import Transaction

T = TypeVar("T")


Result = Receipt | BufferFault
"""What became of an entry; a fault says why nothing of it was stored."""
Done = Callable[[Result], None]
"""Called on the event loop, once; must not raise."""


class Append(msgspec.Struct):
    """Store an entry. The writer takes all that wait at once, and fills in the result."""

    entry: Entry
    done: Done
    result: Result | None = None
    pieces: list[Piece] | None = None
    """The entry, where it was compressed on its way."""

    def finish(self) -> None:
        """Tell who waits."""
        if self.result is not None:
            self.done(self.result)

    def lost(self, error: BufferFault) -> None:
        """It will never be written."""
        self.done(error)


class Write(ABC):
    """Any other change."""

    lazy = False
    """May wait a moment for a commit that comes anyway."""

    @abstractmethod
    def write(self, transaction: Transaction) -> None:
        """Do it."""

    def committed(self) -> None:
        """It is durable."""

    def lost(self, error: BufferFault) -> None:
        """It will never be written."""


@dataclass(slots=True)
class Settle(Write):
    """Mark a stretch of the log as done by a sink, and count what became of its events."""

    sink: str
    first: int
    last: int
    outcomes: dict[Outcome, int]
    letters: Sequence[DeadLetter] = ()

    lazy = True

    def write(self, transaction: Transaction) -> None:
        if transaction.settle(self.sink, self.first, self.last, self.outcomes):
            bury(transaction, self.letters)

    def committed(self) -> None:
        point("delivery.settled")


@dataclass(slots=True)
class SettleReplayed(Write):
    """What became of dead letters that were put back in line."""

    sink: str
    delivered: Sequence[int] = ()
    refused: Sequence[DeadLetter] = ()
    repeats: int = 0

    lazy = True

    def write(self, transaction: Transaction) -> None:
        settled = delivered_again(transaction, self.sink, self.delivered)
        settled += refused_again(transaction, self.sink, self.refused)
        sent_again(transaction, self.sink, settled * self.repeats)
        point("dead_letters.settled_again")


@dataclass(slots=True)
class Note(Write):
    """Keep a text for a sink."""

    sink: str
    text: str

    lazy = True

    def write(self, transaction: Transaction) -> None:
        if state := transaction.sink(self.sink):
            transaction.put_sink(self.sink, replace(state, notes=self.text))


@dataclass(slots=True)
class Call(Write, Generic[T]):
    """Any function of a transaction, awaited by who asked for it."""

    function: Callable[[Transaction], T]
    future: asyncio.Future[T]
    _result: list[T] = field(default_factory=list)

    def write(self, transaction: Transaction) -> None:
        self._result[:] = [self.function(transaction)]

    def committed(self) -> None:
        if not self.future.done():
            self.future.set_result(self._result[0])

    def lost(self, error: BufferFault) -> None:
        if not self.future.done():
            self.future.set_exception(error)


Operation = Append | Write
