"""The same bodies to Fluent Bit and Vector, where they are installed, their buffers on disk.

Each feeds a sink that only counts, at its strictest setting: Fluent Bit with file-system storage
and `storage.sync full`, Vector with a disk buffer and end-to-end acknowledgements.
"""

import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.booking import JSON
from benchmarks.ingest import ROUNDS, Load, drained, in_arrays, in_lines, rates, row, singles
from benchmarks.proc import usage
from benchmarks.processes import WAIT, Program, forebay, http_sink, program
from benchmarks.report import Row

FLUENT_BIT = """
service:
  flush: 1
  log_level: error
  storage.path: {directory}/chunks
  storage.sync: full
pipeline:
  inputs:
    - name: http
      listen: 127.0.0.1
      port: {port}
      successful_response_code: 200
      storage.type: filesystem
  outputs:
    - name: http
      match: '*'
      host: 127.0.0.1
      port: {sink}
      uri: /
      format: json_lines
      retry_limit: no_limits
"""

VECTOR = """
data_dir = "{directory}"

[acknowledgements]
enabled = true

[sources.in]
type = "http_server"
address = "127.0.0.1:{port}"
path = "/"
strict_path = false
framing.method = "newline_delimited"
decoding.codec = "json"

[sinks.out]
type = "http"
inputs = ["in"]
uri = "http://127.0.0.1:{sink}/"
encoding.codec = "json"
framing.method = "newline_delimited"
buffer.type = "disk"
buffer.max_size = 2147483648
buffer.when_full = "block"
"""


@dataclass(frozen=True)
class Peer:
    """Another daemon that takes events over HTTP and keeps them on disk."""

    name: str
    file: str
    """What its configuration is called."""
    template: str
    command: Callable[[Path], list[str]]
    """From the path of its configuration."""

    def configure(self, directory: Path, port: int, sink: int) -> Path:
        """Write its configuration, and have its files, in `directory`."""
        path = directory / self.file
        path.write_text(self.template.format(directory=directory, port=port, sink=sink))
        return path


PEERS = (
    Peer("fluent-bit", "fluent-bit.yaml", FLUENT_BIT, lambda path: ["-c", str(path)]),
    Peer("vector", "vector.toml", VECTOR, lambda path: ["--quiet", "--config", str(path)]),
)


async def run() -> list[Row]:
    rows = []
    for peer in PEERS:
        if shutil.which(peer.name) is None:
            print(f"peers: {peer.name} is not on the PATH: left out", file=sys.stderr)
            continue
        rows += [await _beside(peer, load) for load in (singles(64), in_lines(), in_arrays())]
    return rows


async def _beside(peer: Peer, load: Load) -> Row:
    async with (
        program("sink") as sink,
        program("sink") as other,
        forebay({"bench": http_sink(sink)}) as daemon,
        _started(peer, other) as theirs,
    ):
        # Both take lines as application/json too, and Fluent Bit knows no other name for them.
        their_load = replace(load, content_type=JSON)
        ours, found, before, before_theirs = [], [], daemon.usage(), usage(theirs.pid)
        for _ in range(ROUNDS):
            ours.append(await load.on(daemon.port))
            await drained(daemon)
            found.append(await their_load.on(theirs.port))
        used, used_theirs = daemon.usage() - before, usage(theirs.pid) - before_theirs
    events = sum(one.requests for one in found) * load.events
    note = (
        f"; {peer.name}: {used_theirs.cpu / events * 1e6:.2f} µs of CPU and "
        f"{used_theirs.written / events:,.0f} bytes written an event"
    )
    named = replace(load, what=f"{load.what}, a sink fed")
    return row(named, ours, f"{peer.name}, no fsync", rates(load, found), used, note=note)


@asynccontextmanager
async def _started(peer: Peer, sink: Program) -> AsyncIterator[Program]:
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as directory:
        port = _free_port()
        path = peer.configure(Path(directory), port, sink.port)
        process = await asyncio.create_subprocess_exec(
            peer.name, *peer.command(path), stdout=asyncio.subprocess.DEVNULL
        )
        try:
            await _listening(peer, process, port)
            yield Program(port, process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # what it still holds is of no use to anybody
            await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def _listening(peer: Peer, process: asyncio.subprocess.Process, port: int) -> None:
    async with asyncio.timeout(WAIT):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)
    raise RuntimeError(f"{peer.name} ended with status {process.returncode}")
