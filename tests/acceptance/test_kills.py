"""What was acknowledged survives SIGKILL and SIGTERM, at any moment, under load."""

import json
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from books import Clients
from daemon_process import Daemon, tell, until, write_config
from patience import PatientEmulator

from forebay.buffer.database import open_writer
from forebay.buffer.options import BufferOptions
from forebay.buffer.transaction import load
from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]

KILLS = 20
STOPS = 3
MAX_EVENTS = 500


@pytest.fixture
async def slow_emulator() -> AsyncIterator[Emulator]:
    """Answers a moment after it stored, as Power BI does: so that kills come in between."""
    async with PatientEmulator(latency="20ms") as emulator:
        yield emulator


def configuration(directory: Path, emulator: Emulator) -> Path:
    """Rows carry their `seq`, so that each can be told from every other."""
    sink = {
        "type": "powerbi",
        "push_url": emulator.push_url(),
        "columns": {"id": "id", "seq": "@seq"},
        "batch": {"linger": "5ms", "max_events": MAX_EVENTS},
        "retry": {"base": "5ms", "cap": "50ms"},
        # An emulator that stops for a moment must not stop the test for half a minute.
        "breaker": {"failures": 1000},
        "limits": {"requests_per_minute": 10**6, "requests_per_hour_large": 10**6},
    }
    return write_config(directory, sinks={"demo": sink})


def arrivals(emulator: Emulator) -> list[tuple[int, str]]:
    """`seq` and id of every row, in the order of their arrival."""
    rows = [json.loads(row) for row in emulator.rows("demo")]
    return [(row["seq"], row["id"]) for row in rows]


@dataclass
class Moment:
    """What was so when a daemon was killed."""

    rows: int
    """Rows that the emulator held."""
    done: Callable[[int], bool]
    """Whether a `seq` was delivered for good, as the buffer's file has it."""


def moment(config: Path, emulator: Emulator) -> Moment:
    """Looks into a copy of the file: the next daemon must find it as the last one left it."""
    copy = config.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for file in config.parent.glob("buffer.db*"):
        shutil.copy(file, copy)
    database = open_writer(BufferOptions(path=copy / "buffer.db"))
    cursor = load(database).sinks["demo"].cursor
    database.close()
    return Moment(len(emulator.rows("demo")), lambda seq: cursor.covers(seq, seq))


async def drained(session: aiohttp.ClientSession, daemon: Daemon) -> dict[str, Any]:
    """Wait until nothing is left to deliver; the status then."""
    answer = await until(
        session,
        f"{daemon.admin}/v1/status",
        lambda answer: answer.json()["sinks"]["demo"]["lag_events"] == 0,
    )
    status: dict[str, Any] = answer.json()
    return status


async def restart(emulator: Emulator) -> None:
    """Nothing that a killed daemon has sent comes in after this."""
    port = urlsplit(emulator.url).port
    assert port is not None
    await emulator.close()
    await emulator.start(port=port)


def triggers(clients: Clients, emulator: Emulator, seed: int) -> Iterator[Awaitable[None]]:
    """Moments to kill at: so many acknowledgements later, as a batch comes in, as it is stored."""
    rng = random.Random(seed)
    stats = emulator.requests
    for _ in range(KILLS):
        kind = rng.choice(("acknowledged", "posting", "stored"))
        if kind == "acknowledged":
            yield clients.acknowledgements(rng.randint(1, 600))
        elif kind == "posting":
            requests = stats.row_requests + rng.randint(1, 12)
            yield emulator.until(lambda: stats.row_requests >= requests)  # noqa: B023  used at once
        else:
            rows = stats.rows_stored + rng.randint(1, 1500)
            yield emulator.until(lambda: stats.rows_stored >= rows)  # noqa: B023  used at once


async def test_twenty_kills_lose_no_acknowledged_event(
    launch: Launch, slow_emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator = slow_emulator
    config = configuration(tmp_path, emulator)
    clients = Clients(session, 6, seed=1)
    moments = [Moment(0, lambda _: False)]
    for trigger in triggers(clients, emulator, seed=2):
        daemon = await launch(config)
        clients.up(daemon)
        await trigger
        await daemon.kill()
        clients.down()
        await restart(emulator)
        moments.append(moment(config, emulator))
    await clients.leave()
    daemon = await launch(config)
    status = await drained(session, daemon)
    assert await daemon.stop() == 0

    rows, acknowledged = arrivals(emulator), clients.books.acknowledged
    arrived = dict(rows)
    # Nothing is lost: neither what was promised, nor what was stored without an answer.
    assert {seq: arrived.get(seq) for seq in acknowledged} == acknowledged
    assert set(arrived) == set(range(1, status["buffer"]["next_seq"]))
    # In order, each with its own id, and nothing that nobody posted.
    firsts = list(dict.fromkeys(seq for seq, _ in rows))
    assert firsts == sorted(firsts)
    assert len(set(rows)) == len(arrived)
    assert set(arrived.values()) <= set(acknowledged.values()) | clients.books.unanswered
    # What comes again was not settled for good when the last daemon died.
    ends = [*(moment.rows for moment in moments[1:]), len(rows)]
    for before, end in zip(moments, ends, strict=True):
        generation = [seq for seq, _ in rows[before.rows : end]]
        assert len(set(generation)) == len(generation), "twice from one process"
        assert not [seq for seq in generation if before.done(seq)], "settled, and sent again"
    repeated = len(rows) - len(arrived)
    assert repeated <= KILLS * MAX_EVENTS
    tell(
        f"{KILLS} kills: {len(acknowledged)} acknowledged, {len(clients.books.unanswered)} "
        f"unanswered, {len(rows)} rows, {repeated} of them repeats"
    )


async def test_sigterm_under_load_loses_nothing_and_repeats_nothing(
    launch: Launch, slow_emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator = slow_emulator
    config = configuration(tmp_path, emulator)
    clients = Clients(session, 6, seed=3)
    left = []
    for _ in range(STOPS):
        daemon = await launch(config)
        clients.up(daemon)
        await clients.acknowledgements(500)
        await emulator.until(lambda: emulator.requests.under_way > 0)
        assert await daemon.stop() == 0, daemon.text
        clients.down()
        assert emulator.requests.under_way == 0
        left.append(len(clients.books.acknowledged.keys() - dict(arrivals(emulator)).keys()))
    await clients.leave()
    daemon = await launch(config)
    status = await drained(session, daemon)
    assert await daemon.stop() == 0

    rows, books = arrivals(emulator), clients.books
    assert [seq for seq, _ in rows] == list(range(1, status["buffer"]["next_seq"]))
    arrived = dict(rows)
    assert {seq: arrived.get(seq) for seq in books.acknowledged} == books.acknowledged
    # Whatever was taken before the stop was answered too.
    assert not set(arrived.values()) & (books.refused | books.unanswered)
    assert books.statuses <= {200, 503}
    assert emulator.requests.unanswered == 0
    assert any(left), "each time all was delivered already: nothing was at stake"
    tell(
        f"{STOPS} SIGTERMs: {len(books.acknowledged)} acknowledged, {len(books.refused)} refused "
        f"with 503, {len(books.unanswered)} unanswered, left in the buffer {left}, no repeats"
    )
