"""A booking application: `python -m benchmarks.programs.booking_app WAY DATABASE URL`.

Each POST is a booking. It is written to the application's own database, and the event is handed on
to the dashboard's API by one of three WAYs; then the user is told that the booking is confirmed.

| WAY | URL | |
|---|---|---|
| `dual` | the API | posts to the API before it answers; a failure is logged |
| `queue` | the API | puts the event on a queue in memory; every 2 s a thread posts what is there; a failure is logged |
| `forebay` | forebay | posts to forebay before it answers; 503 where forebay does not answer 200 |

All of them give the other side 5 s. The log is DATABASE.log.
"""  # noqa: E501  a table cannot be broken

import asyncio
import http.client
import logging
import queue
import random
import socket
import sqlite3
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

TIMEOUT = 5.0
EVERY = 2.0
_JSON = {"Content-Type": "application/json"}

log = logging.getLogger(__name__)


class Database:
    """The business's own. A durable commit, as slow as one to a database server: 2 to 5 ms."""

    def __init__(self, path: Path) -> None:
        self._dice = random.Random(11)  # noqa: S311  the same delays in every run
        self._thread = ThreadPoolExecutor(1)
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS bookings (id TEXT PRIMARY KEY, event)")

    async def add(self, booking: str, event: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._commit, booking, event)

    def close(self) -> None:
        self._thread.shutdown()
        self._connection.close()

    def _commit(self, booking: str, event: bytes) -> None:
        began = time.perf_counter()
        with self._connection:
            self._connection.execute("INSERT INTO bookings VALUES (?, ?)", (booking, event))
        rest = self._dice.uniform(0.002, 0.005) - (time.perf_counter() - began)
        time.sleep(max(rest, 0))


class Way(ABC):
    """How an event gets to the dashboard."""

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    async def hand_on(self, booking: str, event: bytes) -> bool:
        """Whether the user may be told that the booking is confirmed."""

    async def life(self, app: web.Application) -> AsyncIterator[None]:
        """What it needs while the application runs."""
        del app
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
        ) as self.session:
            yield


class DualWrite(Way):
    async def hand_on(self, booking: str, event: bytes) -> bool:
        try:
            async with self.session.post(self.url, data=b"[%b]" % event, headers=_JSON) as answer:
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("booking %s is not on the dashboard: %r", booking, error)
        return True


class QueueAndThread(Way):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._events: queue.Queue[bytes] = queue.Queue()

    async def hand_on(self, booking: str, event: bytes) -> bool:
        del booking
        self._events.put(event)
        return True

    async def life(self, app: web.Application) -> AsyncIterator[None]:
        del app
        threading.Thread(target=self._work, daemon=True).start()
        yield

    def _work(self) -> None:
        while True:
            time.sleep(EVERY)
            self.drain()

    def drain(self) -> None:
        """Post all that is there in one request."""
        events: list[bytes] = []
        with suppress(queue.Empty):
            while True:
                events.append(self._events.get_nowait())
        if events:
            try:
                self._post(b"[%b]" % b",".join(events))
            except (OSError, http.client.HTTPException) as error:
                log.warning("%d bookings are not on the dashboard: %r", len(events), error)

    def _post(self, body: bytes) -> None:
        to = URL(self.url)
        connection = http.client.HTTPConnection(to.host or "", to.port, timeout=TIMEOUT)
        try:
            connection.request("POST", to.path, body, _JSON)
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 200:
            raise http.client.HTTPException(f"status {status}")


class Forebay(Way):
    async def hand_on(self, booking: str, event: bytes) -> bool:
        headers = _JSON | {"Idempotency-Key": booking}
        try:
            async with self.session.post(self.url, data=event, headers=headers) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("booking %s is not at forebay: %r", booking, error)
            return False


WAYS: dict[str, type[Way]] = {"dual": DualWrite, "queue": QueueAndThread, "forebay": Forebay}


def application(way: Way, database: Database) -> web.Application:
    """The booking application with that way."""

    async def book(request: web.Request) -> web.Response:
        event = await request.read()
        booking = msgspec.json.decode(event)["booking_id"]
        await database.add(booking, event)
        confirmed = await way.hand_on(booking, event)
        return web.json_response({"booking_id": booking}, status=200 if confirmed else 503)

    app = web.Application()
    app.router.add_post("/bookings", book)
    app.cleanup_ctx.append(way.life)
    return app


def main() -> None:
    way, database, url = sys.argv[1:]
    logging.basicConfig(filename=f"{database}.log")
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    web.run_app(
        application(WAYS[way](url), Database(Path(database))),
        sock=listener, print=None, access_log=None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
