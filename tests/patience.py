"""How long tests wait: until what they wait for is there, and never for ever."""

import asyncio
from collections.abc import Callable

from forebay.sinks.powerbi.emulator import Emulator

PATIENCE = 30.0
"""Seconds after which a test gives up. Generous: nothing is ever measured with it."""


class PatientEmulator(Emulator):
    """Its waits end with a TimeoutError rather than not at all."""

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            await super().until(met)
