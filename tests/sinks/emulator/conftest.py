"""An emulator on a port of its own, and what tests move and ask it with."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from emulator_client import Client, Clock, Connect, Sleeper

from forebay.sinks.powerbi.emulator import Emulator, EmulatorOptions


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
async def connect(clock: Clock, sleeper: Sleeper) -> AsyncIterator[Connect]:
    """`await connect(**options)`: a client, signed in, of an emulator with these options."""
    async with AsyncExitStack() as stack:

        async def _connect(**options: Any) -> Client:
            emulator = Emulator(EmulatorOptions(**options), clock=clock, sleep=sleeper)
            await stack.enter_async_context(emulator)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            client = Client(emulator, session)
            await client.sign_in(
                tenant=options.get("tenant", "t"),
                client_id=options.get("client_id", "app"),
                client_secret=options.get("client_secret", "secret"),
            )
            return client

        yield _connect
