"""The gate: whether the next send may start, and if not, why and for how long.

A person's pause, a hold, the breaker, what the sink asked for, the back-off and the sink's
documented limits stand in one row; all must allow a send. All sends of a sink share one gate, so
while something holds, nobody probes but one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from math import inf

from forebay.daemon.delivery.backoff import Backoff
from forebay.daemon.delivery.breaker import Breaker, State
from forebay.daemon.delivery.limits import Quotas
from forebay.daemon.delivery.options import BreakerOptions, RetryOptions
from forebay.sinks import Limits, Retry


class Reason(StrEnum):
    """Why a send has to wait; the words of the contract's `state`."""

    PAUSED = "paused"
    HELD = "held"
    OPEN = "open"
    THROTTLED = "throttled"
    RETRYING = "retrying"


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds (it may be infinite) for this reason."""

    seconds: float
    reason: Reason


class Gate:
    """Decides; never sleeps. Times are monotonic seconds."""

    def __init__(
        self,
        retry: RetryOptions,
        breaker: BreakerOptions,
        limits: Limits,
        random: Callable[[], float],
    ) -> None:
        times = {"open_for": breaker.open_for, "open_cap": breaker.open_cap}
        self.paused = False
        self.breaker = Breaker(failures=breaker.failures, **times)
        self.hold = Breaker(failures=1, **times)
        self.quotas = Quotas.of(limits.quotas)
        self._backoff = Backoff(retry, random)
        self._pending = limits.pending or inf
        self._under_way = 0
        self._asked_until = 0.0
        self._backoff_until = 0.0
        self._failing = False
        self._wanted: tuple[int, int] | None = None
        """What was asked for and has not started: so a person sees what that has to wait for."""

    def __repr__(self) -> str:
        return f"<Gate {self.breaker} hold={self.hold.state} under_way={self._under_way}>"

    def wait(self, now: float, events: int = 1, delivered: int = 0) -> Wait | None:
        """What a send of `events` has to wait for, if anything; the first obstacle tells."""
        self._wanted = (events, delivered)
        return _first(chain(self._troubles(now), self._limits(now, events, delivered)))

    def _troubles(self, now: float) -> Iterator[tuple[Reason, float]]:
        busy = inf if self._under_way else 0.0
        yield Reason.PAUSED, inf if self.paused else 0.0
        yield Reason.HELD, self.hold.wait(now)
        yield Reason.OPEN, self.breaker.wait(now)
        yield Reason.THROTTLED, self._asked_until - now
        yield Reason.RETRYING, self._backoff_until - now
        yield Reason.RETRYING, busy if self._failing else 0.0

    def _limits(self, now: float, events: int, delivered: int) -> Iterator[tuple[Reason, float]]:
        yield Reason.THROTTLED, inf if self._under_way >= self._pending else 0.0
        yield Reason.THROTTLED, self.quotas.wait(now, events, delivered)

    def reason(self, now: float) -> Wait | None:
        """What stands in the way, for a person: also while the one send that may go is going."""
        wait = self.wait(now, *self._wanted) if self._wanted else _first(self._troubles(now))
        if self.paused or (not self._failing and self.closed):
            return wait
        state = Reason.RETRYING
        if self.hold.state is not State.CLOSED:
            state = Reason.HELD
        elif self.breaker.state is not State.CLOSED:
            state = Reason.OPEN
        if wait is not None and wait.reason is Reason.THROTTLED and state is Reason.RETRYING:
            return wait
        return Wait(wait.seconds if wait else 0.0, state)

    @property
    def closed(self) -> bool:
        """Whether neither a hold nor the breaker is in the way."""
        return self.hold.state is State.CLOSED and self.breaker.state is State.CLOSED

    def start(self, events: int) -> None:
        """A send begins, after `wait` gave None."""
        self._under_way += 1
        self._wanted = None
        self.hold.started()
        self.breaker.started()
        self.quotas.start(events)

    def ended(self, now: float, events: int) -> None:
        """A send ended, whatever its outcome, which is told next."""
        self._under_way -= 1
        self.quotas.end(now, events)

    def taken(self) -> None:
        """The sink answered for the data itself: it is alive and lets us in."""
        self.hold.succeeded()
        self.breaker.succeeded()
        self._failing = False
        self._backoff_until = 0.0

    def retry(self, now: float, answer: Retry, attempt: int) -> bool:
        """The sink said: not now. Whether that opened the breaker."""
        self._failing = True
        if answer.after is not None and answer.after > 0:
            self._asked_until = max(self._asked_until, now + answer.after)
        else:  # also when it asked for no time at all: it would be asked again at once, for ever
            self._backoff_until = max(self._backoff_until, now + self._backoff.seconds(attempt))
        if answer.throttled:
            self.breaker.undecided(now)
            self.hold.undecided(now)
            return False
        self.hold.undecided(now)
        return self.breaker.failed(now)

    def held(self, now: float) -> None:
        """A person must act; until then one probe at a time."""
        self._failing = True
        self.breaker.undecided(now)
        self.hold.failed(now)

    def cancelled(self, now: float) -> None:
        """A send was given up by us."""
        self.breaker.undecided(now)
        self.hold.undecided(now)

    def probe(self, now: float) -> None:
        """Let one send go now, whatever holds, but a pause and the documented limits."""
        self._asked_until = self._backoff_until = 0.0
        self.hold.probe(now)
        self.breaker.probe(now)


def _first(obstacles: Iterable[tuple[Reason, float]]) -> Wait | None:
    return next((Wait(seconds, why) for why, seconds in obstacles if seconds > 0), None)
