"""A sink that only counts what it is sent: `python -m benchmarks.programs.sink [MODE] [SECONDS]`.

MODE `count` answers 200 after SECONDS (0 by default); `hang` takes the request and never answers.
GET /  answers `{"requests": n, "lines": n, "bytes": n}`; `lines` are those of NDJSON bodies.
It does as little as a server can, so that it is never the bottleneck: a protocol on uvloop, bodies
neither joined nor parsed.
"""

import asyncio
import json
import sys
from typing import cast

import httptools
import uvloop

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Counts:
    requests = 0
    lines = 0
    bytes = 0


class Sink(asyncio.Protocol):
    def __init__(self, counts: Counts, seconds: float | None) -> None:
        self._counts = counts
        self._seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._last = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._counts.bytes += len(body)
        self._counts.lines += body.count(b"\n")
        self._last = body

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            self._answer(json.dumps(vars(self._counts)).encode())
            return
        self._counts.requests += 1
        self._counts.lines += bool(self._last) and not self._last.endswith(b"\n")
        self._last = b""
        if self._seconds == 0:
            self._answer(b"{}")
        elif self._seconds is not None:
            asyncio.get_running_loop().call_later(self._seconds, self._answer, b"{}")

    def _answer(self, body: bytes) -> None:
        self._transport.write(_OK % (len(body), body))


async def serve(mode: str, seconds: float, kind: type[Sink] = Sink) -> None:
    counts = Counts()
    vars(counts).update(requests=0, lines=0, bytes=0)
    server = await asyncio.get_running_loop().create_server(
        lambda: kind(counts, None if mode == "hang" else seconds), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    mode, seconds = [*sys.argv[1:], *("count", "0")[len(sys.argv) - 1 :]]
    uvloop.run(serve(mode, float(seconds)))


if __name__ == "__main__":
    main()
