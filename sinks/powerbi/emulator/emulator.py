"""The emulator as a server: started, asked, told to fail, closed."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from aiohttp import web

from forebay.sinks.powerbi.emulator.api import PowerBI
from forebay.sinks.powerbi.emulator.control import Control
from forebay.sinks.powerbi.emulator.door import Door, Sleep
from forebay.sinks.powerbi.emulator.entra import Entra
from forebay.sinks.powerbi.emulator.faults import Fault
from forebay.sinks.powerbi.emulator.options import EmulatorOptions
from forebay.sinks.powerbi.emulator.stats import Stats
from forebay.sinks.powerbi.emulator.world import PUSH_URL_TABLE, World

_ANY_KEY = "emulator"
_ANY_TENANT = "emulator"


class Emulator:
    """A Power BI in memory. What it holds outlives a `close` and a new `start`.

    `clock` gives seconds that never step back, for windows and tokens; `sleep` waits, for latency
    and slow answers.
    """

    def __init__(
        self,
        options: EmulatorOptions | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.options = options or EmulatorOptions()
        self._world = World(self.options, clock)
        self._door = Door(self._world, sleep)
        self._runner: web.AppRunner | None = None
        self._url = ""

    def __repr__(self) -> str:
        return f"Emulator({self._url or 'not started'}, {self._world!r})"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 is any free port. Raises `OSError` when the address cannot be had."""
        if self._runner is not None:
            raise RuntimeError(f"the emulator listens already, at {self._url}")
        self._door.open()
        # A client that goes away frees its place among the pending at once.
        self._runner = web.AppRunner(
            self.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.close()
            raise
        listening = self._runner.addresses[0][1]
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{listening}"

    async def close(self) -> None:
        """Stop listening; requests under way end without an answer."""
        self._door.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    def app(self) -> web.Application:
        """A new aiohttp application over what this emulator holds."""
        # aiohttp, too, takes 0 for no limit.
        app = web.Application(
            middlewares=[self._door.middleware], client_max_size=self.options.bytes_per_request
        )
        for part in (PowerBI(self._world), Entra(self._world), Control(self._world)):
            app.add_routes(part.routes())
        return app

    @property
    def url(self) -> str:
        """Where it listens, like `http://127.0.0.1:41234`: both `api_url` and `authority_url`."""
        if self._runner is None:
            raise RuntimeError("the emulator is not started: use `async with Emulator() as …`")
        return self._url

    def push_url(self, dataset: str = "demo") -> str:
        """A push URL of `dataset` that is accepted."""
        key = self.options.push_key.get_secret_value() if self.options.push_key else _ANY_KEY
        tenant = self.options.tenant or _ANY_TENANT
        return f"{self.url}/beta/{tenant}/datasets/{quote(dataset)}/rows?key={quote(key)}"

    def rows(self, dataset: str, table: str = PUSH_URL_TABLE) -> list[bytes]:
        """The rows that a table holds, oldest first, each as it was posted; [] for no table."""
        model = self._world.models.get(dataset)
        held = model.tables.get(table) if model else None
        return held.rows() if held else []

    @property
    def requests(self) -> Stats:
        """What was counted so far."""
        return self._world.stats

    def fault(self, fault: Fault | str, **fields: Any) -> None:
        """Play a fault: `fault("status", status=503, count=2)`; see `Fault` for the fields.

        Raises pydantic's `ValidationError` when the fields do not fit the kind.
        """
        if not isinstance(fault, Fault):
            fault = Fault.model_validate({"kind": fault, **fields})
        self._world.fault(fault)

    def clear_faults(self) -> None:
        """No more faults; what hangs goes on."""
        self._world.clear_faults()

    def reset(self) -> None:
        """Forget rows, datasets made on use, windows and counts; tokens and faults stay."""
        self._world.reset()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until `met()` is true; asked whenever a request arrives, stores or leaves."""
        await self._world.until(met)
