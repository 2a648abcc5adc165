"""On disk before the 200: what the kernel was asked for, and in which order.

strace writes one line a system call, in the order in which they happened. A call during which
another thread's began is written in two pieces:

    811 read(15, "POST /v1/events/demo HTTP/1.1"..., 65536) = 131
    816 fdatasync(12 <unfinished ...>
    811 read(16, "POST /v1/events/demo HTTP/1.1"..., 65536) = 131
    816 <... fdatasync resumed>)          = 0
    811 write(15, "HTTP/1.1 200 OK\r\nContent-Type: a"..., 198) = 198
"""

import asyncio
import os
import re
import shutil
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from daemon_process import Daemon, post, tell, write_config
from patience import PATIENCE

Launch = Callable[..., Awaitable[Daemon]]

POSTS = 200
_READS = "read,readv,recvfrom,recvmsg"
_WRITES = "write,writev,sendto,sendmsg"
_SYNCS = "fsync,fdatasync"
_CALL = re.compile(r"(\w+)\((\d+)")


@dataclass(frozen=True)
class Call:
    """A call, with the lines in which it began and ended."""

    name: str
    descriptor: int
    text: str
    began: int
    ended: int

    @property
    def is_request(self) -> bool:
        return self.name in _READS.split(",") and '"POST /v1/events/' in self.text

    @property
    def is_answer(self) -> bool:
        return self.name in _WRITES.split(",") and '"HTTP/1.1 200' in self.text

    @property
    def is_sync(self) -> bool:
        return self.name in _SYNCS.split(",") and self.text.endswith("= 0")


def calls(trace: Path) -> Iterator[Call]:
    """The calls of a trace, in the order in which they ended."""
    unfinished: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(trace.read_text(encoding="utf-8").splitlines()):
        process, _, text = line.partition(" ")
        text, began = text.strip(), number
        if text.endswith("<unfinished ...>"):
            unfinished[process] = (number, text.removesuffix("<unfinished ...>"))
            continue
        if text.startswith("<..."):
            began, head = unfinished.pop(process)
            text = head + text.partition("resumed>")[2]
        if found := _CALL.match(text):
            yield Call(found[1], int(found[2]), text, began, number)


def answers_and_syncs(trace: Path) -> tuple[list[bool], int]:
    """For each answer, whether a sync began after its request and ended before it; all syncs."""
    requests: dict[int, Call] = {}
    covered, syncs = [], 0
    began = -1  # of the last sync that has ended: there is one thread that syncs
    for call in calls(trace):
        if call.is_request:
            requests[call.descriptor] = call
        elif call.is_sync:
            began, syncs = call.began, syncs + 1
        elif call.is_answer:
            covered.append(began > requests.pop(call.descriptor).ended)
    return covered, syncs


@dataclass
class Traced:
    daemon: Daemon
    trace: Path

    async def end(self) -> None:
        """End the daemon, and with it strace, which would not pass the signal on."""
        lock = self.daemon.config.parent / "buffer.db.lock"
        os.kill(int(lock.read_text(encoding="ascii")), signal.SIGTERM)
        assert await self.daemon.ended() == 0, self.daemon.text


@pytest.fixture
async def traced(launch: Launch, tmp_path: Path) -> Traced:
    strace = shutil.which("strace")
    if strace is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("install the package strace")
    trace = tmp_path / "trace"
    config = write_config(tmp_path, sinks={"demo": {"type": "file", "path": str(tmp_path / "out")}})
    options = ("-f", "-o", str(trace), "-s", "32", "-e", f"trace={_READS},{_WRITES},{_SYNCS}")
    return Traced(await launch(config, before=(str(strace), *options)), trace)


async def test_no_answer_goes_out_before_a_sync(
    traced: Traced, session: aiohttp.ClientSession
) -> None:
    for number in range(POSTS):
        assert (await post(session, traced.daemon, b'{"n": %d}' % number)).status == 200
    await traced.end()

    covered, syncs = answers_and_syncs(traced.trace)
    assert covered == [True] * POSTS
    assert syncs >= POSTS
    tell(f"{POSTS} posts one by one: {syncs} syncs, one between each request and its answer")


def post_at_once(daemon: Daemon) -> list[bytes]:
    """One post on each of many connections, all sent before any answer is read; status lines."""
    address = urlsplit(daemon.ingest)
    where = (address.hostname, address.port)
    body = b'{"n": 1}'
    head = b"POST /v1/events/demo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(where, PATIENCE)) for _ in range(POSTS)
        ]
        for connection in connections:
            connection.sendall(head % len(body) + body)
        return [connection.recv(4096).partition(b"\r\n")[0] for connection in connections]


async def test_answers_share_syncs_under_load(traced: Traced) -> None:
    answers = await asyncio.to_thread(post_at_once, traced.daemon)
    await traced.end()

    assert answers == [b"HTTP/1.1 200 OK"] * POSTS
    covered, syncs = answers_and_syncs(traced.trace)
    assert covered == [True] * POSTS
    assert syncs < POSTS / 2
    tell(f"{POSTS} posts at once: {syncs} syncs, one between each request and its answer")
