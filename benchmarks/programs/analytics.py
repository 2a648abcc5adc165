"""A dashboard's API that takes its time: `python -m benchmarks.programs.analytics SECONDS`.

It remembers whose rows it took, so that what is missing can be told afterwards.

| request | |
|---|---|
| `POST /NAME` | a JSON array of bookings; 400, and none taken, where one has the status `POISON` |
| `GET /_/NAME` | what came for that name: `requests`, `refused`, `seconds` from the first request to the last answer, and the `ids` of the bookings taken, repeats and all |
| `POST /_/down/HOW/S` | for S seconds: `hang` answers nothing, `refuse` takes no connection |

Rows are taken when they arrive and answered SECONDS later: who is killed while he waits for the
answer has delivered. What arrives during an outage is never taken.
"""  # noqa: E501  a table cannot be broken

import asyncio
import socket
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field

import msgspec
from aiohttp import web

POISON = "POISON"


class Booking(msgspec.Struct):
    booking_id: str
    status: str


@dataclass
class Account:
    """What came for one name."""

    requests: int = 0
    refused: int = 0
    began: float = 0.0
    seconds: float = 0.0
    ids: list[str] = field(default_factory=list)

    def take(self, bookings: list[Booking]) -> bool:
        """All or, where one of them is poison, none."""
        self.began = self.began or time.monotonic()
        self.requests += 1
        if any(booking.status == POISON for booking in bookings):
            self.refused += 1
            return False
        self.ids += [booking.booking_id for booking in bookings]
        return True

    def answered(self) -> None:
        self.seconds = time.monotonic() - self.began


class Analytics:
    """The API; `start` it, `fail` and `recover` it at will."""

    def __init__(self, seconds: float) -> None:
        self.lost = 0
        """Requests that met an outage."""
        self._seconds = seconds
        self._accounts: defaultdict[str, Account] = defaultdict(Account)
        self._up = asyncio.Event()
        self._refusing = False
        self.outages: set[asyncio.Task[None]] = set()
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/{name}", self._rows)
        app.router.add_get("/_/{name}", self._account)
        app.router.add_post("/_/down/{how}/{seconds}", self._down)
        self._runner = web.AppRunner(app, access_log=None)
        self._port = 0

    async def start(self) -> int:
        """Serve; the port."""
        await self._runner.setup()
        await self.recover()
        return self._port

    async def stop(self) -> None:
        self._up.set()
        await self._runner.cleanup()

    async def fail(self, how: str) -> None:
        """Begin an outage."""
        self._up.clear()
        self._refusing = how == "refuse"
        if self._refusing:
            for site in list(self._runner.sites):
                await site.stop()

    async def recover(self) -> None:
        """End the outage. Who waits for an answer loses the connection."""
        if not self._runner.sites:
            listener = socket.create_server(("127.0.0.1", self._port), backlog=1024)
            self._port = listener.getsockname()[1]
            await web.SockSite(self._runner, listener).start()
        self._up.set()

    async def _rows(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._up.is_set():
            return await self._lose(request)
        account = self._accounts[request.match_info["name"]]
        taken = account.take(msgspec.json.decode(body, type=list[Booking]))
        await asyncio.sleep(self._seconds)
        account.answered()
        return web.json_response({}, status=200 if taken else 400)

    async def _lose(self, request: web.Request) -> web.Response:
        self.lost += 1
        if not self._refusing:
            await self._up.wait()
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _account(self, request: web.Request) -> web.Response:
        return web.json_response(asdict(self._accounts[request.match_info["name"]]))

    async def _down(self, request: web.Request) -> web.Response:
        await self.fail(request.match_info["how"])
        outage = asyncio.create_task(self._recover_after(float(request.match_info["seconds"])))
        self.outages.add(outage)
        outage.add_done_callback(self.outages.discard)
        return web.json_response({})

    async def _recover_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.recover()


async def serve(seconds: float) -> None:
    print(await Analytics(seconds).start(), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    asyncio.run(serve(float(sys.argv[1])))


if __name__ == "__main__":
    main()
