"""What the ingest tests share: a served log, raw talk with it, and answers as objects."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferFault
from forebay.buffer.options import BufferOptions, Durability
from forebay.buffer.store import Store
from forebay.daemon.ingest.desk import Log
from forebay.daemon.ingest.options import IngestOptions
from forebay.daemon.ingest.protocol import Connection
from forebay.daemon.ingest.server import IngestServer
from forebay.daemon.metrics import IngestMetrics

EVENT = b'{"id": 1}'
JSON = b"application/json"
LINES = b"application/x-ndjson"

Held = tuple[Entry, asyncio.Future[Receipt]]


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedLog:
    """A log for what the real one cannot be made to do on command.

    Each entry takes the next of `script`: a fault to raise, or (`late`) to answer with; a receipt;
    or "hold" to leave in `held` the future that answers. Without a script everything is stored.
    """

    def __init__(self, *script: Exception | Receipt | str) -> None:
        self.script: deque[Exception | Receipt | str] = deque(script)
        self.late = False  # set faults on the future rather than raise them
        self.entries: list[Entry] = []
        self.held: list[Held] = []
        self._next = 1

    def subscribers(self, stream: str) -> tuple[str, ...]:
        return ("sink",) if stream.startswith("bookings") else ()

    def submit(self, entry: Entry, done: Callable[[Receipt | BufferFault], None]) -> None:
        outcome = self.script.popleft() if self.script else None
        if isinstance(outcome, Exception) and not self.late:
            raise outcome
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda ended: done(_outcome(ended)))
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
            return
        self.entries.append(entry)
        if isinstance(outcome, Receipt):
            future.set_result(outcome)
        elif outcome == "hold":
            self.held.append((entry, future))
        else:
            asyncio.get_running_loop().call_soon(self.release, entry, future)

    def release(self, entry: Entry, future: asyncio.Future[Receipt]) -> None:
        first, self._next = self._next, self._next + entry.count
        future.set_result(Receipt(entry.count, first_seq=first, last_seq=self._next - 1))


def _outcome(ended: asyncio.Future[Receipt]) -> Receipt | BufferFault:
    fault = ended.exception()
    if fault is None:
        return ended.result()
    assert isinstance(fault, BufferFault)
    return fault


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


@dataclass
class Served:
    """A running server, and ways to talk to it."""

    server: IngestServer
    registry: CollectorRegistry
    clock: Clock
    socket: str
    log: Any
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(
        self, listener: str = "tcp"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if listener == "unix":
            reader, writer = await asyncio.open_unix_connection(self.socket)
        else:
            reader, writer = await asyncio.open_connection(*self.server.tcp_address)
        self.writers.append(writer)
        return reader, writer

    async def talk(self, data: bytes, listener: str = "tcp") -> bytes:
        """Send, half-close, and read until the server closes."""
        reader, writer = await self.connect(listener)
        writer.write(data)
        writer.write_eof()
        return await reader.read()

    async def ask(self, data: bytes, listener: str = "tcp") -> Answer:
        (answer,) = answers(await self.talk(data, listener))
        return answer

    async def end(self) -> None:
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


class Kitchen:
    """Makes servers in a temporary directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """The real log; a sink takes `bookings` and `bookings.*`."""
        options = BufferOptions(path=self.path / "buffer.db", durability=Durability.OS)
        store = Store(options)
        await store.open()
        try:
            await store.subscribe("sink", ("bookings", "bookings.*"), start_now=False)
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def served(self, log: Log | None = None, **settings: Any) -> AsyncIterator[Served]:
        """A server on both listeners; on a scripted log unless another is given."""
        log = ScriptedLog() if log is None else log
        path = str(self.path / "ingest.sock")
        options = IngestOptions(**{"listen": "127.0.0.1:0", "socket": path} | settings)
        registry, clock = CollectorRegistry(), Clock()
        server = IngestServer(options, log, IngestMetrics(registry), clock=clock)
        await server.start()
        served = Served(server, registry, clock, path, log)
        try:
            yield served
        finally:
            await served.end()
            await server.close()


def request(
    body: bytes = EVENT,
    path: bytes = b"/v1/events/bookings",
    *,
    method: bytes = b"POST",
    content_type: bytes | None = JSON,
    length: bool = True,
    host: bytes | None = b"localhost",
    version: bytes = b"1.1",
    headers: tuple[bytes, ...] = (),
) -> bytes:
    lines = [b"%s %s HTTP/%s" % (method, path, version)]
    if host is not None:
        lines.append(b"Host: " + host)
    if content_type is not None:
        lines.append(b"Content-Type: " + content_type)
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, *headers, b"", body])


def chunked(*pieces: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """A body in chunks, with its end."""
    parts = [b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces]
    return b"".join(parts) + b"0\r\n" + trailer + b"\r\n"


def answers(data: bytes) -> list[Answer]:
    """What a server sent, cut into answers; anything that is no answer fails."""
    found: list[Answer] = []
    place = 0
    while place < len(data):
        end = data.find(b"\r\n\r\n", place)
        assert end >= 0, f"a head without its end: {data[place:]!r}"
        line, *fields = data[place:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
        place = end + 4 + int(headers.get("content-length", 0))
        assert place <= len(data), "an answer was cut short"
        found.append(Answer(int(line.split()[1]), headers, data[end + 4 : place]))
    return found


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


def connections(served: Served) -> list[Connection]:
    """The connections that a server holds."""
    links = [link for listener in served.server._listeners for link in listener._connections]
    return [link for link in links if isinstance(link, Connection)]
