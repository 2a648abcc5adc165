"""What a sink is, and what it may answer.

A sink takes batches to one place outside. It knows that place, and nothing else: no SQLite, no
retries, no breaker, no metrics. The pipeline that drives it knows all of those, and no place.

Guarantees that the pipeline gives a sink:

- `open` is awaited once before the first `send`, `close` once after the last.
- With the default order at most one `send` runs at a time; with more, each has its own batch.
- A `send` that takes longer than the sink's `timeout` is cancelled. Cancellation may come at any
  await; a sink needs no clean-up of its own beyond `async with`.
- After an ambiguous failure the very same batch comes again, with the same `id`.

What a sink owes the pipeline:

- `send` returns only when every event of the batch is stored at the other side; anything else is
  one of the answers below, raised. An exception of any other kind is taken for an ambiguous
  `Retry`.
- The message of an answer contains what the other side said, and no secret.
- `open` does not fail because the other side is unreachable: that is `send`'s to find out.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """The base of every sink's own options: unknown keys are errors, values never change.

    Messages of invalid options do not repeat what was given: it may be a secret.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Part(msgspec.Struct, frozen=True):
    """Consecutive events of one stream.

    `payload` holds one JSON object a line, byte for byte as it was posted, joined by single
    newlines with none at the end; no event contains a newline. `attributes` is None, or one
    entry an event: the CloudEvents attributes that came with it, or None.
    """

    stream: str
    first_seq: int
    count: int
    received_at: float
    """When the buffer took these events, in seconds since the epoch."""
    payload: bytes
    attributes: tuple[dict[str, str] | None, ...] | None = None

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    def singles(self) -> Iterator[Part]:
        """Each event as a part of its own."""
        attributes = self.attributes or (None,) * self.count
        for row, event in enumerate(self.payload.split(b"\n")):
            own = None if attributes[row] is None else (attributes[row],)
            yield Part(self.stream, self.first_seq + row, 1, self.received_at, event, own)

    def cut(self, start: int, stop: int) -> Part:
        """The events from index `start` up to `stop`."""
        if start == 0 and stop == self.count:
            return self
        return replace(
            self,
            first_seq=self.first_seq + start,
            count=stop - start,
            payload=b"\n".join(self.payload.split(b"\n")[start:stop]),
            attributes=None if self.attributes is None else self.attributes[start:stop],
        )


@dataclass(frozen=True)
class Batch:
    """Events that travel together, in the order of their `seq`. Never empty."""

    origin: str
    """`instance/sink`: the first half of the batch's identity."""
    parts: tuple[Part, ...]

    @property
    def id(self) -> str:
        """`instance/sink/first-last`: the same over retries and restarts."""
        return f"{self.origin}/{self.first_seq}-{self.last_seq}"

    @property
    def first_seq(self) -> int:
        return self.parts[0].first_seq

    @property
    def last_seq(self) -> int:
        return self.parts[-1].last_seq

    @cached_property
    def count(self) -> int:
        return sum(part.count for part in self.parts)

    def __len__(self) -> int:
        return self.count

    @cached_property
    def nbytes(self) -> int:
        """The size of `ndjson()`, in bytes."""
        return sum(len(part.payload) for part in self.parts) + len(self.parts) - 1

    def ndjson(self) -> bytes:
        """All events, one a line, without a newline at the end."""
        return b"\n".join([part.payload for part in self.parts])

    @cached_property
    def events(self) -> Sequence[bytes]:
        """Each event's bytes."""
        return self.ndjson().split(b"\n")

    @cached_property
    def singles(self) -> Sequence[Part]:
        """Each event as a part of its own; for who needs many of them one by one."""
        return [single for part in self.parts for single in part.singles()]

    def runs(self) -> Iterator[tuple[int, int]]:
        """The stretches of consecutive `seq`s, as pairs of first and last."""
        first = last = None
        for part in self.parts:
            if first is None or last is None:
                first, last = part.first_seq, part.last_seq
            elif part.first_seq == last + 1:
                last = part.last_seq
            else:
                yield first, last
                first, last = part.first_seq, part.last_seq
        if first is not None and last is not None:
            yield first, last

    def cut(self, start: int, stop: int) -> Batch:
        """The events from index `start` up to `stop`, as a batch of their own."""
        if not 0 <= start < stop <= self.count:
            raise IndexError(f"cannot cut {start}:{stop} out of {self.count} events")
        parts: list[Part] = []
        offset = 0
        for part in self.parts:
            low, high = max(start - offset, 0), min(stop - offset, part.count)
            if low < high:
                parts.append(part.cut(low, high))
            offset += part.count
        return Batch(self.origin, tuple(parts))


class Answer(Exception):  # noqa: N818  an answer of the other side, not a fault of ours
    """What a sink raises when a batch was not stored.

    `status` is the other side's code where it has one (an HTTP status), for a person to read.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status

    def reason_of(self, row: int) -> str:  # noqa: ARG002  an answer may know one for each event
        """Why the event of this index was not stored."""
        return self.reason


class Rejected(Answer):
    """This data will never be taken.

    `rows` are the bad events' indexes where they are known; given as a mapping, each comes with
    the reason of its own.
    """

    def __init__(
        self,
        reason: str,
        *,
        rows: Sequence[int] | Mapping[int, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(reason, status=status)
        self.rows = sorted(rows) if isinstance(rows, Mapping) else rows
        self.reasons = rows if isinstance(rows, Mapping) else {}

    def reason_of(self, row: int) -> str:
        return self.reasons.get(row, self.reason)


class TooLarge(Answer):
    """The batch is too large as a whole: fewer events at once may pass."""


class Retry(Answer):
    """Not now. `after` is how many seconds the other side asked for, if it did.

    `ambiguous` says that the batch may have been stored: the answer never came. `throttled` says
    that the other side asked for patience rather than failed; it does not count for the breaker.
    """

    def __init__(
        self,
        reason: str,
        *,
        after: float | None = None,
        ambiguous: bool = False,
        throttled: bool = False,
        status: int | None = None,
    ) -> None:
        super().__init__(reason, status=status)
        self.after = after
        self.ambiguous = ambiguous
        self.throttled = throttled


class Hold(Answer):
    """A person must act first: a missing target, a missing right, bad credentials."""


class Unit(StrEnum):
    """What a quota counts."""

    REQUESTS = "requests"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `amount` of `unit` in any `per` seconds.

    It applies once the sink has delivered `from_delivered` events (Power BI's rule for tables
    of 250,000 rows and more).
    """

    name: str
    unit: Unit
    amount: int
    per: float
    from_delivered: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the other side documents that it takes; the pipeline keeps to it.

    `events` and `nbytes` bound one batch, `pending` the sends under way; None is no bound.
    """

    events: int | None = None
    nbytes: int | None = None
    pending: int | None = None
    quotas: tuple[Quota, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a sink is told about itself."""

    name: str
    instance: str
    """The identity of this forebay's buffer; the same for as long as the file lives."""
    monotonic: Callable[[], float]
    """Seconds that never jump; for expiry times."""
    wall_clock: Callable[[], float] = time.time
    """Seconds since the epoch; for dates in headers and file names."""


class Sink(ABC):
    """One place where events go. Subclasses take `(options, context)`."""

    options: ClassVar[type[Options]]
    """The model of the sink's own options; `type` in the configuration chooses the sink."""

    limits: Limits = Limits()

    identified: bool = False
    """The other side is told the batch's identity: its boundaries are recorded before the first
    send, so that it is the same batch after a restart."""

    ordered: bool = False
    """The sink needs one batch in flight, in the order of `seq`."""

    def __init__(self, options: Any, context: Context) -> None:
        """Keep what is needed of them; nothing is opened yet."""

    async def open(self) -> None:
        """Make ready: sessions, files. Does not fail because the other side is unreachable."""

    @abstractmethod
    async def send(self, batch: Batch) -> None:
        """Store the batch at the other side, all of it; else raise an `Answer`."""

    async def close(self) -> None:
        """Let go of what `open` took."""
