"""The sink's documented limits, kept on our side before the sink has to.

A send occupies a quota from the moment it starts until `per` seconds after it ended: whatever time
it takes to travel, the other side never counts more than the quota in any window.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, Final

from forebay.sinks import Quota, Unit

_BUCKETS: Final = 120
"""Ends are rounded up to `per` / 120: what is kept and stored is bounded, and errs on our side."""


class Usage:
    """How much of one quota is taken. Times are monotonic seconds."""

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self._grain = quota.per / _BUCKETS
        self._ended: deque[tuple[float, int]] = deque()
        self._ended_sum = 0
        self._under_way = 0

    def __repr__(self) -> str:
        return f"<Usage {self.quota.name} {self._ended_sum}+{self._under_way}/{self.quota.amount}>"

    def wait(self, now: float, amount: int) -> float:
        """Seconds until `amount` fits; infinite until a send under way has ended.

        More than the whole quota (it was lowered after the batch had formed) goes alone.
        """
        self._forget(now)
        amount = min(amount, self.quota.amount)
        excess = self._ended_sum + self._under_way + amount - self.quota.amount
        if excess <= 0:
            return 0.0
        for ended, used in self._ended:
            excess -= used
            if excess <= 0:
                return max(ended + self.quota.per - now, 0.0)
        return inf

    def start(self, amount: int) -> None:
        """A send of `amount` begins."""
        self._under_way += amount

    def end(self, now: float, amount: int) -> None:
        """It ended, whatever its outcome."""
        self._under_way -= amount
        self.restore(self._rounded(now), amount)

    def restore(self, ended: float, amount: int) -> None:
        """Count `amount` as used until `per` seconds after `ended`."""
        if self._ended and self._ended[-1][0] >= ended:
            ended, before = self._ended.pop()
            self._ended.append((ended, before + amount))
        else:
            self._ended.append((ended, amount))
        self._ended_sum += amount

    def entries(self, now: float) -> list[tuple[float, int]]:
        """When what counts ended, and how much it was, if all that is under way ended now."""
        flying = [(self._rounded(now), self._under_way)] if self._under_way else []
        return [*self._ended, *flying]

    def _rounded(self, moment: float) -> float:
        return ceil(moment / self._grain) * self._grain

    def _forget(self, now: float) -> None:
        while self._ended and self._ended[0][0] + self.quota.per <= now:
            self._ended_sum -= self._ended.popleft()[1]


@dataclass(frozen=True, slots=True)
class Quotas:
    """All quotas of a sink; each must allow a send."""

    usages: tuple[Usage, ...]

    @classmethod
    def of(cls, quotas: Sequence[Quota]) -> "Quotas":
        """Fresh usages of these quotas."""
        return cls(tuple(Usage(quota) for quota in quotas))

    def wait(self, now: float, events: int, delivered: int) -> float:
        """Seconds until a send of `events` may start, when `delivered` were delivered so far."""
        waits = [
            usage.wait(now, _amount(usage, events))
            for usage in self.usages
            if delivered >= usage.quota.from_delivered
        ]
        return max(waits, default=0.0)

    def start(self, events: int) -> None:
        """A send begins."""
        for usage in self.usages:
            usage.start(_amount(usage, events))

    def end(self, now: float, events: int) -> None:
        """A send ended."""
        for usage in self.usages:
            usage.end(now, _amount(usage, events))

    def to_json(self, now: float, wall: float) -> dict[str, list[tuple[float, int]]]:
        """The windows in wall clock times, so that they survive a restart, or a crash now."""
        return {
            usage.quota.name: [(ended - now + wall, used) for ended, used in usage.entries(now)]
            for usage in self.usages
        }

    def restore(self, saved: dict[str, Any], now: float, wall: float) -> None:
        """Take over windows that `to_json` gave; times to come count as now."""
        for usage in self.usages:
            for ended, used in saved.get(usage.quota.name, ()):
                usage.restore(min(ended - wall, usage.quota.per / _BUCKETS) + now, used)


def _amount(usage: Usage, events: int) -> int:
    return events if usage.quota.unit is Unit.EVENTS else 1
