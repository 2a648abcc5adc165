"""How long tests wait: until what they wait for is there, and never for ever."""

import asyncio
from collections.abc import Callable
from typing import Any

from forebay.sinks.powerbi.emulator import Emulator, EmulatorOptions

PATIENCE = 60.0
"""Seconds after which a test gives up. Generous: nothing is ever measured with it."""

_NO_RATES = {"requests_per_minute": 0, "requests_per_hour_large": 0, "rows_per_hour": 0}


class PatientEmulator(Emulator):
    """Has no rates, and its waits end with a TimeoutError rather than not at all."""

    def __init__(self, **options: Any) -> None:
        super().__init__(EmulatorOptions(**{**_NO_RATES, **options}))

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            await super().until(met)
