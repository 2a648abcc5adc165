"""How many sends may be under way at once.

Additive increase, multiplicative decrease on what the sink shows of itself, with the constants of
Vector's adaptive request concurrency: start at 1; one more a round trip while the limit was
reached and the latency is at or below its moving average; times 0.9 on back-pressure or on a
latency above mean + 2.5 deviations; weight of the newest measure 0.4.
"""

from math import sqrt
from typing import Final

_ALPHA: Final = 0.4
_DECREASE: Final = 0.9
_DEVIATIONS: Final = 2.5


class Window:
    """`most` = 1 is strict order. Times are monotonic seconds."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = 1.0
        self.under_way = 0
        self._reached = False
        self._mean = 0.0
        self._variance = 0.0
        self._round_ends = 0.0
        self._round: list[float] = []
        self._pressed = False

    def __repr__(self) -> str:
        return f"<Window {self.under_way}/{self.limit}>"

    @property
    def limit(self) -> int:
        """How many sends may be under way now."""
        return max(int(self._limit), 1)

    @property
    def free(self) -> bool:
        """Whether one more may start."""
        return self.under_way < self.limit

    def start(self) -> None:
        """A batch takes its place."""
        self.under_way += 1
        self._reached = self._reached or self.under_way >= self.limit

    def end(self) -> None:
        """A batch gives its place back."""
        self.under_way -= 1

    def measured(self, now: float, seconds: float, *, pressed: bool) -> None:
        """A send took `seconds`; `pressed` says that the sink pushed back or failed."""
        self._round.append(seconds)
        self._pressed = self._pressed or pressed
        if now >= self._round_ends:
            self._adjust(now)

    def _adjust(self, now: float) -> None:
        current = sum(self._round) / len(self._round)
        known = self._mean > 0
        too_slow = known and current > self._mean + _DEVIATIONS * sqrt(self._variance)
        if self._pressed or (too_slow and self._variance > 0):
            self._limit = max(self._limit * _DECREASE, 1.0)
        elif self._reached and (not known or current <= self._mean):
            self._limit = min(self._limit + 1, self._most)
        self._learn(current, first=not known)
        self._round, self._reached, self._pressed = [], False, False
        self._round_ends = now + self._mean

    def _learn(self, current: float, *, first: bool) -> None:
        if first:
            self._mean = current
            return
        off = current - self._mean
        self._mean += _ALPHA * off
        self._variance = (1 - _ALPHA) * (self._variance + _ALPHA * off * off)
