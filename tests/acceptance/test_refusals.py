"""Answers that need the whole process: when it cannot take events, and how it recovers."""

import asyncio
import json
import signal
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from daemon_process import Answer, Daemon, ask, post, tell, until, write_config
from patience import PATIENCE

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]


def sink(emulator: Emulator) -> dict[str, object]:
    return {
        "type": "powerbi",
        "push_url": emulator.push_url(),
        "batch": {"linger": "1ms"},
        "retry": {"base": "1ms", "cap": "20ms"},
        "breaker": {"failures": 9999},
        "limits": {"requests_per_minute": 9999},
    }


def refused(answer: Answer, status: int) -> str:
    """What a refusal says; it says when to come back, too."""
    assert answer.status == status, answer
    assert int(answer.headers["Retry-After"]) >= 1
    body = answer.json()
    assert body["status"] == "failed"
    return str(body["error"])


async def test_a_daemon_that_stops_answers_503_and_stores_nothing(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator.fault("hang")
    config = write_config(tmp_path, shutdown_timeout="1m", sinks={"demo": sink(emulator)})
    daemon = await launch(config)
    assert (await post(session, daemon, b'{"n": 1}')).status == 200
    await emulator.until(lambda: emulator.requests.under_way == 1)

    daemon.signal(signal.SIGTERM)
    await daemon.line("daemon.stopping")
    # On the connection that is open still; new ones are not accepted.
    assert "stopping" in refused(await post(session, daemon, b'{"n": 2}'), 503)
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(session, daemon, b'{"n": 3}')
    unready = await ask(session, "GET", f"{daemon.admin}/readyz")
    assert (unready.status, unready.json()["status"]) == (503, "failed")
    assert (await ask(session, "GET", f"{daemon.admin}/healthz")).status == 200
    emulator.clear_faults()
    assert await daemon.ended() == 0, daemon.text

    daemon = await launch(config)
    assert (await post(session, daemon, b'{"n": 4}')).json()["first_seq"] == 2
    await emulator.until(lambda: len(emulator.rows("demo")) >= 2)
    assert await daemon.stop() == 0
    assert emulator.rows("demo") == [b'{"n": 1}', b'{"n": 4}']


async def test_a_full_buffer_answers_429_and_recovers_by_itself(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator.fault("status", status=503)
    config = write_config(tmp_path, buffer={"max_bytes": "1MiB"}, sinks={"demo": sink(emulator)})
    daemon = await launch(config)
    taken = 0
    while (answer := await post(session, daemon, incompressible(taken))).status == 200:
        taken += 1
    assert "buffer.max_bytes" in refused(answer, 429)
    # It stays ready: it answers as the operator chose.
    await until(session, f"{daemon.admin}/readyz", lambda answer: answer.status == 200)

    emulator.clear_faults()
    await emulator.until(lambda: len(emulator.rows("demo")) >= taken)
    async with asyncio.timeout(PATIENCE):
        while (answer := await post(session, daemon, incompressible(taken))).status != 200:
            refused(answer, 429)
    await emulator.until(lambda: len(emulator.rows("demo")) > taken)
    assert await daemon.stop() == 0
    numbers = [json.loads(row)["n"] for row in emulator.rows("demo")]
    assert numbers == list(range(taken + 1))
    tell(f"1 MiB took {taken} events of 8 KB, and went on as soon as the sink did")


def incompressible(number: int) -> bytes:
    """An event of 8 KB, of which little is left out on disk."""
    noise = "".join(f"{pow(number + 1, 65537 + i, 2**127 - 1):032x}" for i in range(250))
    return json.dumps({"n": number, "a": noise[:4000], "b": noise[4000:]}).encode()


async def test_a_locked_file_answers_503_until_it_is_let_go(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(write_config(tmp_path, sinks={"demo": sink(emulator)}))
    ready = f"{daemon.admin}/readyz"
    assert (await post(session, daemon, b'{"n": 1}')).status == 200
    with closing(sqlite3.connect(tmp_path / "buffer.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in refused(await post(session, daemon, b'{"n": 2}'), 503)
        unready = await until(session, ready, lambda answer: answer.status == 503)
        assert "locked" in unready.json()["error"]
        assert "locked" in refused(await post(session, daemon, b'{"n": 3}'), 503)
        assert (await until(session, f"{daemon.admin}/healthz", lambda _: True)).status == 200
        other.execute("ROLLBACK")

    await until(session, ready, lambda answer: answer.status == 200)
    assert (await post(session, daemon, b'{"n": 4}')).status == 200
    await emulator.until(lambda: len(emulator.rows("demo")) >= 2)
    assert await daemon.stop() == 0
    assert emulator.rows("demo") == [b'{"n": 1}', b'{"n": 4}']


async def test_a_locked_file_does_not_keep_the_daemon_from_ending(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    config = write_config(tmp_path, shutdown_timeout="200ms", sinks={"demo": sink(emulator)})
    daemon = await launch(config)
    with closing(sqlite3.connect(tmp_path / "buffer.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(await post(session, daemon, b'{"n": 1}'), 503)
        assert await daemon.stop() == 0, daemon.text
