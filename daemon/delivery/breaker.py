"""The circuit breaker: after so many consecutive failures, nothing but probes is sent.

closed ──failures──► open ──open_for──► half-open (one probe) ──success──► closed
▲                      │
└──failure, doubled────┘
"""

from datetime import timedelta
from enum import StrEnum
from math import inf


class State(StrEnum):
    """As in the metric `forebay_sink_breaker_state`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Decides; never sleeps. Times are monotonic seconds."""

    def __init__(self, *, failures: int, open_for: timedelta, open_cap: timedelta) -> None:
        self._threshold = failures
        self._first = open_for.total_seconds()
        self._cap = max(open_cap.total_seconds(), self._first)
        self._failures = 0
        self._open_for = self._first
        self._until = 0.0
        self.state = State.CLOSED

    def __repr__(self) -> str:
        return f"<Breaker {self.state} failures={self._failures} open_for={self._open_for:g}>"

    def wait(self, now: float) -> float:
        """Seconds until a send may start; infinite while a probe is under way."""
        if self.state is State.CLOSED:
            return 0.0
        if self.state is State.HALF_OPEN:
            return inf
        return max(self._until - now, 0.0)

    def started(self) -> None:
        """A send starts, after `wait` allowed it. Out of an open breaker it is the probe."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN

    def succeeded(self) -> None:
        """The sink stored something."""
        self.state = State.CLOSED
        self._failures = 0
        self._open_for = self._first

    def failed(self, now: float) -> bool:
        """The sink failed; whether the breaker opened by that."""
        self._failures += 1
        if self.state is State.HALF_OPEN:
            self._open_for = min(self._open_for * 2, self._cap)
            self._open(now)
        elif self.state is State.CLOSED and self._failures >= self._threshold:
            self._open(now)
            return True
        return False

    def undecided(self, now: float) -> None:
        """A probe ended without telling anything: another may follow at once."""
        if self.state is State.HALF_OPEN:
            self.state = State.OPEN
            self._until = now

    def probe(self, now: float) -> None:
        """Let the next send be the probe, now: a person asked for it."""
        if self.state is State.OPEN:
            self._until = now

    def _open(self, now: float) -> None:
        self.state = State.OPEN
        self._until = now + self._open_for
