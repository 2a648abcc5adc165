"""Load that is not itself the bottleneck: requests made in advance, as few looks as can be.

`closed_loop` keeps a number of connections busy, by wrk where it is installed, else by our own
client; `open_loop` sends on schedule, so that a slow answer hides nothing.
"""

import asyncio
import gc
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks.booking import JSON, STREAM

PATH = f"/v1/events/{STREAM}"
_STATUS = slice(9, 12)


def post(body: bytes, content_type: str = JSON, path: str = PATH) -> bytes:
    """A request as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass(frozen=True)
class Latencies:
    """In seconds."""

    values: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """The value below which that share lies."""
        ordered = sorted(self.values)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    @property
    def most(self) -> float:
        """The slowest."""
        return max(self.values)


@dataclass(frozen=True)
class Throughput:
    """Of a closed loop. Latencies are in seconds."""

    per_second: float
    requests: int
    p50: float
    p99: float
    generator: float
    """What the generator of the load took of one core, 0 to 1: at 1 it is what was measured."""


class Client(asyncio.Protocol):
    """One keep-alive connection; calls back at the end of each answer, with its status."""

    def __init__(self) -> None:
        self._buffer = b""
        self._waiter: asyncio.Future[int] | None = None
        self.transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int) -> "Client":
        """Connect."""
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(cls, "127.0.0.1", port)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        assert length is not None, head
        if len(rest) >= int(length[1]):
            self._buffer = rest[int(length[1]) :]
            if self._waiter is not None:
                self._waiter.set_result(int(head[_STATUS]))

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error or ConnectionResetError("the server closed"))

    async def send(self, request: bytes) -> int:
        """One request; the status of its answer."""
        assert self.transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        status = await self._waiter
        self._waiter = None
        return status

    async def store(self, request: bytes) -> None:
        """One request, whose answer must be 200."""
        status = await self.send(request)
        if status != 200:
            raise RuntimeError(f"not stored: {status}")

    def close(self) -> None:
        """Close the connection."""
        if self.transport is not None:
            self.transport.close()


async def fill(port: int, requests: Sequence[bytes], times: int, connections: int = 4) -> None:
    """Send `times` requests as fast as they are taken, round and round."""
    numbers = iter(range(times))

    async def lane() -> None:
        with closing(await Client.open(port)) as client:
            for number in numbers:
                await client.store(requests[number % len(requests)])

    await asyncio.gather(*(lane() for _ in range(connections)))


async def closed_loop(
    port: int, bodies: Sequence[bytes], content_type: str, connections: int, seconds: float
) -> Throughput:
    """Every connection sends its next request when it has the answer to the last."""
    if shutil.which("wrk"):
        return await asyncio.to_thread(_wrk, port, bodies, content_type, connections, seconds)
    with quiet():
        return await own_closed_loop(port, bodies, content_type, connections, seconds)


@contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection meanwhile: its pauses would pass for slow answers."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


async def own_closed_loop(
    port: int, bodies: Sequence[bytes], content_type: str, connections: int, seconds: float
) -> Throughput:
    """`closed_loop` where wrk is not installed."""
    requests = [post(body, content_type) for body in bodies]
    found: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()

    async def lane(number: int) -> None:
        answered = 0.0
        with closing(await Client.open(port)) as client:
            while answered < began + seconds:
                sent = time.perf_counter()
                await client.store(requests[number % len(requests)])
                answered = time.perf_counter()
                found.append(answered - sent)
                number += 1

    await asyncio.gather(*(lane(number) for number in range(connections)))
    latencies = Latencies(tuple(found))
    took = time.perf_counter() - began
    return Throughput(
        per_second=len(found) / took,
        requests=len(found),
        p50=latencies.quantile(0.5),
        p99=latencies.quantile(0.99),
        generator=(time.process_time() - cpu) / took,
    )


# The bodies come from a file, one behind the other: quoting them in Lua would cost more than wrk.
_LUA = """
local sizes = {{{sizes}}}
local requests, turn = {{}}, 0
function init(args)
  local file = io.open("{file}", "rb")
  wrk.method, wrk.path = "POST", "{path}"
  wrk.headers["Content-Type"] = "{content_type}"
  for index, size in ipairs(sizes) do
    requests[index] = wrk.format(nil, nil, nil, file:read(size))
  end
  file:close()
end
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency, rates)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def _wrk(
    port: int, bodies: Sequence[bytes], content_type: str, connections: int, seconds: float
) -> Throughput:
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as directory:
        file, script = Path(directory, "bodies"), Path(directory, "load.lua")
        file.write_bytes(b"".join(bodies))
        sizes = ", ".join(str(len(body)) for body in bodies)
        script.write_text(_LUA.format(sizes=sizes, file=file, path=PATH, content_type=content_type))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "30s"]
        cpu = _cpu_of_children()
        done = subprocess.run(
            [*command, "-s", str(script), f"http://127.0.0.1:{port}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    result = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)", done.stdout)
    if result is None or int(result[5]):
        raise RuntimeError(f"wrk met errors:\n{done.stdout}{done.stderr}")
    requests, duration, p50, p99 = (int(text) for text in result.groups()[:4])
    took = duration / 1e6
    busy = (_cpu_of_children() - cpu) / took
    return Throughput(requests / took, requests, p50 / 1e6, p99 / 1e6, busy)


def _cpu_of_children() -> float:
    """CPU seconds of those that have ended: of the runs of wrk."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


async def open_loop(
    port: int, requests: Sequence[bytes], per_second: float, connections: int = 16
) -> Latencies:
    """Send on schedule, each connection in its turn; a slow answer hides nothing.

    Latencies count from when a request was due where its connection still waited for the answer
    before, else from when it was sent: that a timer of ours rings up to 1 ms late is not the
    server's doing.
    """
    clients = [await Client.open(port) for _ in range(connections)]
    began, found = time.perf_counter() + 0.05, []

    async def lane(number: int) -> None:
        for index in range(number, len(requests), connections):
            start = began + index / per_second
            if (early := start - time.perf_counter()) > 0:
                await asyncio.sleep(early)
                start = time.perf_counter()
            await clients[number].store(requests[index])
            found.append(time.perf_counter() - start)

    with quiet():
        await asyncio.gather(*(lane(number) for number in range(connections)))
    for client in clients:
        client.close()
    return Latencies(tuple(found))
