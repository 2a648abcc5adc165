"""Time, as something that is handed in: so that tests can move it."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What the daemon knows of time."""

    def monotonic(self) -> float:
        """Seconds that never jump; for every timer."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch; for what people and files see."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait until `event` is set or the time is over (it may be infinite); whether it is set."""
        ...


class SystemClock:
    """The machine's own."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        if event.is_set():
            return True
        try:
            async with asyncio.timeout(None if seconds == float("inf") else seconds):
                return await event.wait()
        except TimeoutError:
            return False
