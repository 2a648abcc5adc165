"""A server whose every reply is written in the test, a clock that stands still, and batches."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from forebay.sinks import Batch, Context, Part, Sink
from forebay.sinks.powerbi import PowerBIOptions, PowerBISink

CLIENT_SECRET = "s3cret+of/ours=="
EPOCH = 1_795_341_600.0  # 2026-11-22T10:00:00Z


@dataclass
class Clock:
    now: float = 1000.0
    wall_now: float = EPOCH

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.wall_now

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.wall_now += seconds


def part(*events: Any, stream: str = "orders", first: int = 1, **more: Any) -> Part:
    lines = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
    return Part(
        stream, first, len(lines), more.pop("received_at", EPOCH), b"\n".join(lines), **more
    )


def batch(*events: Any, **more: Any) -> Batch:
    return Batch("a1b2/sales", (part(*events, **more),))


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


RESET, HANG, ENDLESS, STALLED = "reset", "hang", "endless", "stalled"


def reply(status: int = 200, body: bytes | dict[str, Any] = b"", **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def token(value: str = "token-one-eyJ0eXAi", expires_in: Any = 3600) -> bytes:
    return reply(200, {"token_type": "Bearer", "expires_in": expires_in, "access_token": value})


Line = bytes | str | Callable[[Request], bytes]


@dataclass
class Scripted:
    """Answers request after request with its script; the last line of it for ever."""

    script: list[Line]
    requests: list[Request] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.requests.append(await _read(reader))
            line = self.script[min(len(self.requests), len(self.script)) - 1]
            if callable(line):
                line = line(self.requests[-1])
            if not await self._answer(line, writer):
                break

    async def _answer(self, line: bytes | str, writer: asyncio.StreamWriter) -> bool:
        if line == RESET:
            return False
        if line == HANG:
            self.hanging.set()
            await asyncio.Event().wait()
        if line == STALLED:
            writer.write(b"HTTP/1.1 400 x\r\nContent-Length: 99\r\n\r\nthe beginning")
            await asyncio.Event().wait()
        if line == ENDLESS:
            writer.write(b"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1000\r\n" + b"more and" * 512 + b"\r\n")
                await writer.drain()
        assert isinstance(line, bytes)
        writer.write(line)
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server on 127.0.0.1 that handles each connection so; yields `127.0.0.1:port`."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(handle(reader, writer)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close in the next turn of the loop


@asynccontextmanager
async def scripted(*script: Line) -> AsyncIterator[Scripted]:
    server = Scripted(list(script))
    async with serving(server.serve) as address:
        server.url = f"http://{address}"
        yield server


@asynccontextmanager
async def opened(sink: Sink) -> AsyncIterator[Sink]:
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()


def closed_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what caused it, and what it was raised in the middle of."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting += [current.__cause__, current.__context__]


def by_id(api: str, authority: str, context: Context, **options: Any) -> PowerBISink:
    auth = {"tenant_id": "contoso.com", "client_id": "c-1", "client_secret": CLIENT_SECRET}
    given = {"dataset_id": "d-1", "workspace_id": "w-1", "table": "Sales Figures", "auth": auth}
    return PowerBISink(
        PowerBIOptions.model_validate(
            {**given, "api_url": api, "authority_url": authority, **options}
        ),
        context,
    )
