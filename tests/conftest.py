import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon_process import Daemon
from patience import PatientEmulator

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with PatientEmulator() as emulator:
        yield emulator


@pytest.fixture
async def launch() -> AsyncIterator[Launch]:
    """Starts daemons, and waits until they are ready; none outlives the test."""
    started: list[Daemon] = []

    async def launch(config: Path, **options: Any) -> Daemon:
        daemon = await Daemon.start(config, **options)
        started.append(daemon)
        return await daemon.ready()

    yield launch
    await asyncio.gather(*(daemon.kill() for daemon in started))
