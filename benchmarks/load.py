"""Load that is not itself the bottleneck: plain sockets, requests made in advance."""

import asyncio
import time
from dataclasses import dataclass


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, request: bytes) -> None:
        """One request and its answer, which must be 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not stored: {head!r}")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        await self._reader.readexactly(length)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@dataclass(frozen=True)
class Latencies:
    """In seconds, counted from when each request was due."""

    values: tuple[float, ...]

    def quantile(self, share: float) -> float:
        ordered = sorted(self.values)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


async def open_loop(port: int, requests: list[bytes], per_second: float) -> Latencies:
    """Send on schedule, whether or not earlier answers came: a slow answer hides nothing."""
    connections = [await Connection.open(port) for _ in range(8)]
    began, found = time.perf_counter() + 0.05, []

    async def lane(number: int) -> None:
        for index in range(number, len(requests), len(connections)):
            due = began + index / per_second
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            await connections[number].send(requests[index])
            found.append(time.perf_counter() - due)

    await asyncio.gather(*(lane(number) for number in range(len(connections))))
    await asyncio.gather(*(connection.close() for connection in connections))
    return Latencies(tuple(found))
