"""The programs under test, each a process of its own."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.proc import Usage, usage

WAIT = 120.0
"""Seconds after which a benchmark gives up waiting."""


@dataclass(frozen=True)
class Program:
    """A server that was started, listening on `port`."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def program(name: str, *arguments: str) -> AsyncIterator[Program]:
    """One of `benchmarks/programs`: it prints its port, then serves."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"benchmarks.programs.{name}", *arguments,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Program(int(await process.stdout.readline()), process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@dataclass(frozen=True)
class Forebay:
    """The daemon, ready."""

    port: int
    admin: int
    pid: int
    directory: Path

    def usage(self) -> Usage:
        """What it has used so far."""
        return usage(self.pid)

    async def status(self) -> Any:
        """`GET /v1/status`."""
        url = f"http://127.0.0.1:{self.admin}/v1/status"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return await response.json()

    async def lag(self) -> int:
        """Events that wait, for the sink that is furthest behind."""
        sinks = (await self.status())["sinks"].values()
        return max((sink["lag_events"] for sink in sinks), default=0)

    def disk_bytes(self) -> int:
        """What its files take on disk, allocated blocks."""
        return sum(file.stat().st_blocks * 512 for file in self.directory.glob("buffer.db*"))


@asynccontextmanager
async def forebay(
    sinks: Mapping[str, Mapping[str, Any]],
    *,
    directory: Path | None = None,
    buffer: Mapping[str, Any] | None = None,
    ingest: Mapping[str, Any] | None = None,
) -> AsyncIterator[Forebay]:
    """The daemon with these sinks, on free ports, its files in `directory` or a temporary one."""
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="forebay-bench-") as temporary:
            async with forebay(
                sinks, directory=Path(temporary), buffer=buffer, ingest=ingest
            ) as daemon:
                yield daemon
        return
    tables = {
        "ingest": {"listen": "127.0.0.1:0"} | dict(ingest or {}),
        "admin": {"listen": "127.0.0.1:0"},
        "buffer": {"path": str(directory / "buffer.db")} | dict(buffer or {}),
        "log": {"format": "json"},
    } | {f"sinks.{name}": options for name, options in sinks.items()}
    config = directory / "forebay.toml"
    # A sink that hangs must not hold up the end of each measurement.
    sections = ['shutdown_timeout = "100ms"', *(_table(*table) for table in tables.items())]
    config.write_text("\n".join(sections))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "forebay.daemon", "run", "-c", str(config),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    swallow = None
    try:
        ready = await _ready(process.stderr)
        swallow = asyncio.create_task(process.stderr.read())
        yield Forebay(ready["ingest"][1], ready["admin"][1], process.pid, directory)
    finally:
        if process.returncode is None:
            process.terminate()
        await (process.stderr.read() if swallow is None else swallow)
        await process.wait()


async def _ready(log: asyncio.StreamReader) -> Any:
    read = b""
    while line := await log.readline():
        read += line
        if line.startswith(b"{") and (entry := json.loads(line))["action"] == "daemon.ready":
            return entry
    raise RuntimeError(f"forebay did not start:\n{read.decode()}")


def _table(name: str, options: Mapping[str, Any]) -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in options.items())])


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {_toml(inner)}' for key, inner in value.items())}}}"
    return json.dumps(value)


def http_sink(to: Program, **options: Any) -> dict[str, Any]:
    """The table of an HTTP sink that posts NDJSON to a program."""
    return {"type": "http", "url": f"{to.url}/", "format": "ndjson", "timeout": "1h"} | options
