"""When a batch is due: at so many events, so many bytes, or so long after its first event."""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Final

from forebay.daemon.delivery.options import BatchOptions

_ARRIVALS: Final = 256
"""Moments remembered; when there are more, the two oldest become one."""


@dataclass(slots=True)
class _Arrival:
    at: float
    events: int


class Batcher:
    """Counts what waits, without holding it. Times are monotonic seconds, sizes bytes."""

    def __init__(self, options: BatchOptions) -> None:
        self.max_events = options.max_events
        self.max_bytes = int(options.max_bytes)
        self._linger = options.linger.total_seconds()
        self._arrivals: deque[_Arrival] = deque()
        self._events = 0
        self._size = 0

    def __repr__(self) -> str:
        return f"<Batcher events={self._events} bytes={self._size}>"

    @property
    def since(self) -> float | None:
        """When the first event that waits came, or None."""
        return self._arrivals[0].at if self._arrivals else None

    def arrived(self, events: int, size: int, at: float) -> None:
        """So many events came; -inf says that nobody knows since when they wait."""
        if events <= 0:
            return
        self._events += events
        self._size += size
        self._arrivals.append(_Arrival(at, events))
        if len(self._arrivals) > _ARRIVALS:
            first = self._arrivals.popleft()
            self._arrivals[0].at = first.at
            self._arrivals[0].events += first.events

    def taken(self, events: int, size: int) -> None:
        """So many of the first events became a batch."""
        self._events = max(self._events - events, 0)
        self._size = max(self._size - size, 0) if self._events else 0
        while events > 0 and self._arrivals:
            first = self._arrivals[0]
            if first.events > events:
                first.events -= events
                return
            events -= first.events
            self._arrivals.popleft()

    def forget(self) -> None:
        """Nothing waits after all."""
        self._events = self._size = 0
        self._arrivals.clear()

    @property
    def full(self) -> bool:
        """Whether there is enough for a batch."""
        return self._events >= self.max_events or self._size >= self.max_bytes

    @property
    def due(self) -> float:
        """When a batch is due: -inf when it is full, infinite while nothing waits."""
        if not self._arrivals:
            return inf
        return -inf if self.full else self._arrivals[0].at + self._linger

    def wait(self, now: float) -> float:
        """Seconds until a batch is due; infinite while nothing waits."""
        return max(self.due - now, 0.0)
