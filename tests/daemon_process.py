"""forebay as a user runs it: a process of its own, followed by its log."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from patience import PATIENCE

PROGRAM = (sys.executable, "-m", "forebay.daemon")

Table = Mapping[str, Any]


def write_config(directory: Path, **tables: Table) -> Path:
    """A configuration with free ports, a socket and a buffer, all in `directory`.

    `tables` are laid over it: `sinks={"sales": {...}}`, `buffer={"max_bytes": "1MiB"}`; what is no
    table stands at the top.
    """
    socket = str(directory / "ingest.sock")
    base: dict[str, Table] = {
        "ingest": {"listen": "127.0.0.1:0", "socket": socket},
        "admin": {"listen": "127.0.0.1:0"},
        "buffer": {"path": str(directory / "buffer.db")},
    }
    top = {key: value for key, value in tables.items() if not isinstance(value, Mapping)}
    merged = base | {
        key: {**base.get(key, {}), **value}
        for key, value in tables.items()
        if isinstance(value, Mapping)
    }
    lines = [f"{key} = {_toml(value)}" for key, value in top.items()]
    for name, table in merged.items():
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    path = directory / "forebay.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(v)}' for key, v in value.items())}}}"
    return json.dumps(value)


def environment(**variables: str) -> dict[str, str]:
    """This process's, without what would configure forebay, with `variables`."""
    strange = ("FOREBAY_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "JOURNAL_STREAM")
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(strange)}
    return inherited | variables


class Daemon:
    """`forebay run`, from `start` until it ends."""

    def __init__(self, process: asyncio.subprocess.Process, config: Path) -> None:
        self.config = config
        self.output: list[str] = []
        """What it wrote to standard error, line by line."""
        self.lines: list[dict[str, Any]] = []
        """Those of them that are JSON."""
        self.ingest = self.admin = ""
        self.pid = process.pid
        self._process = process
        self._changed = asyncio.Event()
        self._follower = asyncio.create_task(self._follow(), name="log of forebay")

    @classmethod
    async def start(
        cls, config: Path, *, before: Sequence[str] = (), variables: Mapping[str, str] | None = None
    ) -> Self:
        """Start it, below the program `before` where one is given; see `ready`."""
        process = await asyncio.create_subprocess_exec(
            *before,
            *PROGRAM,
            *("run", "-c", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment(**(variables or {})),
            start_new_session=True,
            limit=2**20,
        )
        return cls(process, config)

    async def _follow(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            text = line.decode().rstrip("\n")
            self.output.append(text)
            if text.startswith("{"):
                self.lines.append(json.loads(text))
            self._tell()
        await self._process.wait()
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    async def ready(self) -> Self:
        """Wait until it listens."""
        line = await self.line("daemon.ready")
        self.ingest, self.admin = (
            f"http://{line[plane][0]}:{line[plane][1]}" if line[plane] else ""
            for plane in ("ingest", "admin")
        )
        return self

    async def line(self, action: str, *, after: int = 0, **fields: Any) -> dict[str, Any]:
        """Wait for a log line of this action with these fields; the first `after` are not meant."""
        wanted = fields | {"action": action}
        return await self.find(
            lambda line: all(line.get(key) == value for key, value in wanted.items()), after=after
        )

    async def find(
        self, meant: Callable[[dict[str, Any]], bool], *, after: int = 0
    ) -> dict[str, Any]:
        """Wait for a log line that is `meant`."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    for line in self.lines[after:]:
                        if meant(line):
                            return line
                    if self._follower.done():
                        raise AssertionError("it ended without such a line:\n" + self.text)
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError("there was no such line:\n" + self.text) from None

    async def ended(self) -> int:
        """Wait for its end; the exit status."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.shield(self._follower)
            return await self._process.wait()

    @property
    def text(self) -> str:
        """All that it wrote."""
        return "\n".join(self.output)

    # ── ending ───────────────────────────────────────────────────────────────────────────────

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL, to all of its process group."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.ended()

    def descriptors(self) -> int:
        """How many files it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def command_line(self) -> str:
        """What others see of it in a list of processes."""
        return Path(f"/proc/{self.pid}/cmdline").read_text(encoding="utf-8")


def tell(measured: str) -> None:
    """Show what was measured: `pytest -rP` prints it, also of tests that passed."""
    print(measured)  # noqa: T201  this is what it is for


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    status: int
    output: str
    errors: str


async def command(*arguments: str, stdin: bytes = b"", **variables: str) -> Finished:
    """Run `forebay` with these arguments to its end."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**variables),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, errors = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, output.decode(), errors.decode())


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(session: aiohttp.ClientSession, method: str, url: str, **options: Any) -> Answer:
    """One request."""
    async with asyncio.timeout(PATIENCE), session.request(method, url, **options) as answer:
        return Answer(answer.status, answer.headers, await answer.read())


JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


async def post(
    session: aiohttp.ClientSession, daemon: Daemon, body: bytes, stream: str = "demo"
) -> Answer:
    """One event, or a JSON array of them."""
    url = f"{daemon.ingest}/v1/events/{stream}"
    return await ask(session, "POST", url, data=body, headers=JSON)


async def until(
    session: aiohttp.ClientSession, url: str, met: Callable[[Answer], bool], method: str = "GET"
) -> Answer:
    """Ask again and again, until the answer is as wished."""
    async with asyncio.timeout(PATIENCE):
        while not met(answer := await ask(session, method, url)):
            pass
    return answer
