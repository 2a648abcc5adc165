"""A clock that a test moves by hand."""

import asyncio
from dataclasses import dataclass
from math import inf


@dataclass(eq=False)
class _Timer:
    at: float
    limit: asyncio.Timeout


class ManualClock:
    """Time stands still until `advance`; a wait that is due by then ends.

    `waiting` counts who waits now, `waits` all that ever began to: so a test can tell when
    everybody has come to rest.
    """

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self.now = monotonic
        self.ahead = wall - monotonic
        """Wall clock minus monotonic clock: change it, and the wall clock jumps."""
        self.waiting = 0
        self.waits = 0
        self.fired = 0
        self._timers: list[_Timer] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.ahead

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        if event.is_set():
            return True
        limit = asyncio.timeout(None)
        timer = _Timer(self.now + seconds, limit)
        self.waits += 1
        self.waiting += 1
        try:
            async with limit:
                self._timers.append(timer)
                if timer.at <= self.now:
                    self._fire(timer)
                return await event.wait()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
            if timer in self._timers:
                self._timers.remove(timer)

    def next(self) -> float:
        """When the next wait is due; infinite when none ever is."""
        return min((timer.at for timer in self._timers), default=inf)

    def advance(self, to: float) -> None:
        """Move to that moment, and end the waits that are due."""
        assert to >= self.now, "time does not run backwards"
        self.now = to
        for timer in [timer for timer in self._timers if timer.at <= to]:
            self._fire(timer)

    def _fire(self, timer: _Timer) -> None:
        self._timers.remove(timer)
        self.fired += 1
        timer.limit.reschedule(0.0)  # long ago: the loop ends the wait in its next turn
