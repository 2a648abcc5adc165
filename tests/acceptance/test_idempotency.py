"""A client that asks twice: what it sent is stored once, and it is told so."""

import asyncio
import json
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from daemon_process import JSON, NDJSON, Answer, Daemon, ask, write_config
from patience import PATIENCE, PatientEmulator
from prometheus_client.parser import text_string_to_metric_families

from forebay.buffer.crash import VARIABLE
from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]

CLOUD = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def configuration(directory: Path, emulator: Emulator, **tables: Any) -> Path:
    sink = {
        "type": "powerbi",
        "push_url": emulator.push_url(),
        "batch": {"linger": "1ms"},
        "retry": {"base": "5ms", "cap": "50ms"},
        "breaker": {"failures": 9999},
        "limits": {"requests_per_minute": 10**6, "requests_per_hour_large": 10**6},
    }
    return write_config(directory, sinks={"demo": sink}, **tables)


async def send(
    session: aiohttp.ClientSession,
    daemon: Daemon,
    body: str,
    key: str | None = None,
    *,
    stream: str = "s",
    headers: dict[str, str] = JSON,
) -> Answer:
    url = f"{daemon.ingest}/v1/events/{stream}"
    keyed = headers if key is None else headers | {"Idempotency-Key": key}
    return await ask(session, "POST", url, data=body.encode(), headers=keyed)


def told(answer: Answer) -> tuple[int, int, int]:
    """How many were accepted, duplicates and rejected."""
    assert answer.status == 200, answer
    said = answer.json()
    assert (said["first_seq"] is None) == (said["accepted"] == 0)
    return said["accepted"], said["duplicates"], said["rejected"]


async def arrived(
    session: aiohttp.ClientSession, daemon: Daemon, emulator: Emulator, count: int
) -> list[Any]:
    """All rows, once `count` and a last one have come."""
    await send(session, daemon, '{"last": true}')
    await emulator.until(lambda: b'{"last": true}' in emulator.rows("demo"))
    rows = [json.loads(row) for row in emulator.rows("demo")]
    assert rows.pop() == {"last": True}
    assert len(rows) == count, rows
    return rows


async def duplicates(session: aiohttp.ClientSession, daemon: Daemon, stream: str) -> float:
    answer = await ask(session, "GET", f"{daemon.admin}/metrics")
    labels = {"stream": stream, "outcome": "duplicate"}
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if sample.name == "forebay_ingest_events_total" and sample.labels == labels
    )


async def test_one_after_the_other(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(configuration(tmp_path, emulator))
    assert told(await send(session, daemon, '[{"n": 1}, {"n": 2}]', "a")) == (2, 0, 0)
    assert told(await send(session, daemon, '[{"n": 1}, {"n": 2}]', "a")) == (0, 2, 0)
    # The key decides, not the body; and on another stream it is another one.
    assert told(await send(session, daemon, '{"n": 3}', "a")) == (0, 1, 0)
    assert told(await send(session, daemon, '{"n": 4}', "a", stream="t")) == (1, 0, 0)
    assert told(await send(session, daemon, '{"n": 5}', "b")) == (1, 0, 0)
    rows = await arrived(session, daemon, emulator, 4)
    assert [row["n"] for row in rows] == [1, 2, 4, 5]
    assert await duplicates(session, daemon, "s") == 3
    assert await duplicates(session, daemon, "t") == 0


async def test_at_the_same_time(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(configuration(tmp_path, emulator))
    for key in range(10):
        answers = await asyncio.gather(
            *(send(session, daemon, f'{{"n": {key}}}', str(key)) for _ in range(8))
        )
        assert sorted(told(answer) for answer in answers) == [(0, 1, 0)] * 7 + [(1, 0, 0)]
    rows = await arrived(session, daemon, emulator, 10)
    assert [row["n"] for row in rows] == list(range(10))


async def test_pipelined_on_one_connection(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(configuration(tmp_path, emulator))
    address = urlsplit(daemon.ingest)
    body = b'{"n": 1}'
    request = (
        b"POST /v1/events/s HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(request * 5)
        writer.write_eof()
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert said.count(b"HTTP/1.1 200") == 5
    bodies = [json.loads(part[: part.index(b"}") + 1]) for part in said.split(b"\r\n\r\n")[1:]]
    counts = [(body["accepted"], body["duplicates"]) for body in bodies]
    assert counts == [(1, 0)] + [(0, 1)] * 4
    await arrived(session, daemon, emulator, 1)


async def test_after_a_kill_that_came_behind_the_answer(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    config = configuration(tmp_path, emulator)
    emulator.fault("status", status=503)  # nothing leaves before the kill
    daemon = await launch(config)
    assert told(await send(session, daemon, '[{"n": 1}, {"n": 2}]', "a")) == (2, 0, 0)
    assert told(await send(session, daemon, cloud("1"), headers=CLOUD)) == (1, 0, 0)
    await daemon.kill()
    emulator.clear_faults()
    daemon = await launch(config)
    assert told(await send(session, daemon, '[{"n": 1}, {"n": 2}]', "a")) == (0, 2, 0)
    assert told(await send(session, daemon, cloud("1"), headers=CLOUD)) == (0, 1, 0)
    await arrived(session, daemon, emulator, 3)


@pytest.mark.parametrize(
    ("point", "again"),
    [("commit.inserted", (2, 0, 0)), ("commit.committed", (0, 2, 0))],
    ids=["not stored", "stored"],
)
async def test_after_a_kill_instead_of_the_answer(
    launch: Launch,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    point: str,
    again: tuple[int, int, int],
) -> None:
    """The client cannot know whether it was stored: it asks again, and it is stored once."""
    async with PatientEmulator() as emulator:
        config = configuration(tmp_path, emulator)
        # Three commits belong to the start, before it is ready; the next one is the request's.
        daemon = await launch(config, variables={VARIABLE: f"{point}:4"})
        with pytest.raises(aiohttp.ClientError):
            await send(session, daemon, '[{"n": 1}, {"n": 2}]', "a")
        assert await daemon.ended() == -signal.SIGKILL
        daemon = await launch(config)
        assert told(await send(session, daemon, '[{"n": 1}, {"n": 2}]', "a")) == again
        assert told(await send(session, daemon, '[{"n": 1}, {"n": 2}]', "a")) == (0, 2, 0)
        rows = await arrived(session, daemon, emulator, 2)
        assert [row["n"] for row in rows] == [1, 2]


async def test_a_request_of_which_a_part_was_bad(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(configuration(tmp_path, emulator))
    lines = '{"n": 1}\nnonsense\n{"n": 2}'
    assert told(await send(session, daemon, lines, "a", headers=NDJSON)) == (2, 0, 1)
    again = await send(session, daemon, lines, "a", headers=NDJSON)
    assert told(again) == (0, 2, 1)
    assert again.json()["status"] == "partial_success"
    assert [error["line"] for error in again.json()["errors"]] == [2]
    # Of what is refused as a whole nothing is remembered.
    assert (await send(session, daemon, "[1]", "b")).status == 422
    assert (await send(session, daemon, "[", "b")).status == 400
    assert told(await send(session, daemon, '{"n": 3}', "b")) == (1, 0, 0)
    await arrived(session, daemon, emulator, 3)


def cloud(id_: str, source: str = "/shop") -> str:
    event = {"specversion": "1.0", "type": "t", "source": source, "id": id_, "data": {"n": id_}}
    return json.dumps(event)


async def test_a_cloud_event_in_three_modes(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(configuration(tmp_path, emulator))
    binary = JSON | {"ce-specversion": "1.0", "ce-type": "t", "ce-source": "/shop", "ce-id": "1"}
    batch = f"[{cloud('1')}, {cloud('2')}, {cloud('2')}, {cloud('2', '/other')}]"
    assert told(await send(session, daemon, cloud("1"), headers=CLOUD)) == (1, 0, 0)
    assert told(await send(session, daemon, '{"n": "1"}', headers=binary)) == (0, 1, 0)
    assert told(await send(session, daemon, batch, headers=BATCH)) == (2, 2, 0)
    assert told(await send(session, daemon, cloud("2"), headers=CLOUD)) == (0, 1, 0)
    assert told(await send(session, daemon, cloud("2"), stream="t", headers=CLOUD)) == (1, 0, 0)
    # An Idempotency-Key comes first: with another one it is another request.
    assert told(await send(session, daemon, cloud("1"), "a", headers=CLOUD)) == (1, 0, 0)
    assert told(await send(session, daemon, cloud("3"), "a", headers=CLOUD)) == (0, 1, 0)
    assert told(await send(session, daemon, cloud("3"), headers=CLOUD)) == (1, 0, 0)
    rows = await arrived(session, daemon, emulator, 6)
    assert [row["n"] for row in rows] == ["1", "2", "2", "2", "1", "3"]


async def test_a_request_that_was_refused_with_429_is_new_when_it_comes_again(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator.fault("status", status=503)
    config = configuration(tmp_path, emulator, buffer={"max_bytes": "1MiB"})
    daemon = await launch(config)
    taken = 0
    while (answer := await send(session, daemon, large(taken), str(taken))).status == 200:
        taken += 1
    assert answer.status == 429
    assert told(await send(session, daemon, large(0), "0")) == (0, 1, 0), "it needs no room"
    emulator.clear_faults()
    async with asyncio.timeout(PATIENCE):
        while (answer := await send(session, daemon, large(taken), str(taken))).status == 429:
            pass
    assert told(answer) == (1, 0, 0)
    rows = await arrived(session, daemon, emulator, taken + 1)
    assert [row["n"] for row in rows] == list(range(taken + 1))


def large(number: int) -> str:
    """An event of 100 KB that compression leaves at half its size."""
    noise = random.Random(number)
    return json.dumps({"n": number} | {f"f{n}": noise.randbytes(2000).hex() for n in range(25)})
