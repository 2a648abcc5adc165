"""A sink that answers what a test tells it to, and remembers what it was sent."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from clock import ManualClock

from forebay.sinks import Batch, Context, Limits, Options, Sink

HANG = "hang"
"""A scripted answer: say nothing until the test calls `release`."""

Scripted = Exception | str | None
Policy = Callable[[Batch], Scripted]


@dataclass(frozen=True)
class Sent:
    """One `send` as the sink saw it."""

    at: float
    id: str
    events: tuple[bytes, ...]


@dataclass(eq=False)
class Place:
    """The other side: it outlives the sink objects that talk to it.

    `script` is what it answers next, in turn; when that is used up, `policy` decides.
    """

    clock: ManualClock
    script: deque[Scripted] = field(default_factory=deque)
    policy: Policy = lambda _: None
    identified: bool = True
    sent: list[Sent] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    hanging: int = 0
    under_way: int = 0
    most_under_way: int = 0
    open_failures: int = 0
    """So many times `open` fails."""
    opened: int = 0
    closed: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def answers(self, *answers: Scripted) -> None:
        self.script.extend(answers)

    def release(self) -> None:
        """Let all hanging sends go on: each stores its batch."""
        self.released.set()
        self.released = asyncio.Event()

    async def take(self, batch: Batch) -> None:
        self.sent.append(Sent(self.clock.now, batch.id, tuple(batch.events)))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            answer = self.script.popleft() if self.script else self.policy(batch)
            if answer is HANG:
                await self._hang()
            elif isinstance(answer, BaseException):
                raise answer
            self.stored += batch.events
        finally:
            self.under_way -= 1

    async def _hang(self) -> None:
        self.hanging += 1
        try:
            await self.released.wait()
        finally:
            self.hanging -= 1

    @property
    def times(self) -> list[float]:
        """When each send came."""
        return [sent.at for sent in self.sent]

    @property
    def gaps(self) -> list[float]:
        """Seconds between two sends."""
        return [b - a for a, b in zip(self.times, self.times[1:], strict=False)]


class ScriptedSink(Sink):
    options = Options

    def __init__(self, place: Place, context: Context, limits: Limits | None = None) -> None:
        super().__init__(place, context)
        self.limits = limits or Limits()
        self.identified = place.identified
        self._place = place

    async def open(self) -> None:
        self._place.opened += 1
        if self._place.open_failures:
            self._place.open_failures -= 1
            raise OSError(13, "Permission denied")

    async def send(self, batch: Batch) -> None:
        await self._place.take(batch)

    async def close(self) -> None:
        self._place.closed += 1
