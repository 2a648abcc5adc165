"""The programs under test, each a process of its own."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

# A sink that takes the connection and the request, and never answers.
HANGING = """
import asyncio, sys
async def hang(reader, writer):
    while await reader.read(65536): pass
async def main():
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

# What a web framework's handler costs that does nothing at all: aiohttp's server, no storage.
NOOP = """
from aiohttp import web
import socket
async def handler(request):
    await request.read()
    return web.json_response({"status": "success"})
app = web.Application()
app.router.add_post("/{path:.*}", handler)
sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
web.run_app(app, sock=sock, print=None, access_log=None)
"""

_CONFIG = """
[ingest]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[buffer]
path = "{directory}/buffer.db"
[log]
format = "json"
[sinks.bench]
type = "http"
url = "http://127.0.0.1:{sink_port}/"
timeout = "1h"
"""


@asynccontextmanager
async def script(source: str) -> AsyncIterator[int]:
    """A small server; gives its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield int(await process.stdout.readline())
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def forebay(directory: Path, sink_port: int) -> AsyncIterator[tuple[int, int]]:
    """The daemon with an HTTP sink; gives the port of its ingest listener, and its pid."""
    config = directory / "forebay.toml"
    config.write_text(_CONFIG.format(directory=directory, sink_port=sink_port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "forebay.daemon", "run", "-c", str(config),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        while line := await process.stderr.readline():
            entry = json.loads(line)
            if entry["action"] == "daemon.ready":
                break
        else:
            raise RuntimeError("forebay did not start")
        swallow = asyncio.create_task(process.stderr.read())
        yield entry["ingest"][1], process.pid
        process.terminate()
        await swallow
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
