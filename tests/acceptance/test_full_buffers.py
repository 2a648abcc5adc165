"""A full buffer as the operator wants it: clients are told, what went is counted, it goes on."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from daemon_process import Daemon, ask, post, until, write_config
from patience import PATIENCE
from prometheus_client.parser import text_string_to_metric_families

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]


@dataclass
class Scene:
    """A daemon with 1 MiB for a sink that is down."""

    daemon: Daemon
    emulator: Emulator
    session: aiohttp.ClientSession
    posted: int = 0

    async def post(self) -> dict[str, Any]:
        """The next event, of 100 KB of which compression leaves half; what was answered."""
        noise = random.Random(self.posted)
        event = {"n": self.posted} | {f"f{n}": noise.randbytes(2000).hex() for n in range(25)}
        answer = await post(self.session, self.daemon, json.dumps(event).encode())
        self.posted += 1
        body: dict[str, Any] = answer.json()
        return body | {"code": answer.status}

    async def recover(self) -> None:
        """The sink comes back; wait until it has all that waits."""
        self.emulator.clear_faults()
        url = f"{self.daemon.admin}/v1/status"
        await until(
            self.session, url, lambda answer: not answer.json()["sinks"]["demo"]["lag_events"]
        )

    def delivered(self) -> list[int]:
        return [json.loads(row)["n"] for row in self.emulator.rows("demo")]

    async def metrics(self) -> dict[str, int]:
        """What became of the events, by outcome; the contract's identity holds."""
        answer = await ask(self.session, "GET", f"{self.daemon.admin}/metrics")
        samples = [
            sample
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
            if sample.labels.get("sink") == "demo"
        ]
        plain = {sample.name: int(sample.value) for sample in samples}
        found = {
            sample.labels["outcome"]: int(sample.value)
            for sample in samples
            if sample.name == "forebay_sink_events_total"
        }
        found["routed"] = plain["forebay_sink_routed_events_total"]
        found["lag"] = plain["forebay_sink_lag_events"]
        done = ("delivered", "dead_lettered", "dropped", "expired", "quarantined", "lag")
        assert found["routed"] + found["replayed"] == sum(found[name] for name in done), found
        return found

    def losses(self) -> list[dict[str, Any]]:
        return [line for line in self.daemon.lines if line["action"] == "buffer.dropped"]


@pytest.fixture
def down(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> Callable[..., Awaitable[Scene]]:
    async def down(**buffer: Any) -> Scene:
        emulator.fault("status", status=503)
        sink = {
            "type": "powerbi",
            "push_url": emulator.push_url(),
            "batch": {"linger": "1ms"},
            "retry": {"base": "1ms", "cap": "20ms"},
            "breaker": {"failures": 9999},
            "limits": {"requests_per_minute": 10**6, "requests_per_hour_large": 10**6},
        }
        config = write_config(tmp_path, buffer={"max_bytes": "1MiB"} | buffer, sinks={"demo": sink})
        return Scene(await launch(config), emulator, session)

    return down


Down = Callable[..., Awaitable[Scene]]


async def test_reject_answers_429_and_loses_nothing(down: Down) -> None:
    scene = await down(when_full="reject")
    while (answer := await scene.post())["code"] == 200:
        pass
    assert answer["code"] == 429
    taken = scene.posted - 1
    assert (await scene.metrics())["lag"] == taken
    await scene.recover()
    async with asyncio.timeout(PATIENCE):
        while (await scene.post())["code"] == 429:
            pass
    await scene.recover()
    assert scene.delivered() == [*range(taken), scene.posted - 1]
    found = await scene.metrics()
    assert (found["routed"], found["delivered"], found["dropped"]) == (taken + 1, taken + 1, 0)
    assert scene.losses() == []


async def test_drop_newest_answers_200_with_what_it_dropped(down: Down) -> None:
    scene = await down(when_full="drop_newest")
    answers = [await scene.post() for _ in range(40)]
    assert {answer["code"] for answer in answers} == {200}
    kept = [number for number, answer in enumerate(answers) if answer["accepted"]]
    assert 5 < len(kept) < 40
    for answer in answers[len(kept) :]:
        assert (answer["accepted"], answer["dropped"], answer["first_seq"]) == (0, 1, None)
    found = await scene.metrics()
    assert (found["routed"], found["dropped"], found["lag"]) == (40, 40 - len(kept), len(kept))
    await scene.recover()
    assert scene.delivered() == kept
    assert (await scene.metrics())["delivered"] == len(kept)
    # Logged once, however many there were.
    assert [(line["sink"], line["outcome"], line["events"]) for line in scene.losses()] == [
        ("demo", "dropped", 1)
    ]


async def test_drop_oldest_delivers_what_is_newest_and_in_order(down: Down) -> None:
    scene = await down(when_full="drop_oldest")
    for _ in range(40):
        answer = await scene.post()
        assert (answer["code"], answer["accepted"]) == (200, 1)
    found = await scene.metrics()
    assert found["dropped"] > 20
    assert found["routed"] == 40
    await scene.recover()
    delivered = scene.delivered()
    assert delivered == list(range(40 - len(delivered), 40))
    found = await scene.metrics()
    # A batch that is being tried keeps its boundaries: what was dropped of it meanwhile still goes
    # out with the rest, and stays counted as dropped.
    assert found["delivered"] + found["dropped"] == 40
    assert 0 < found["delivered"] <= len(delivered)
    assert len(scene.losses()) == 1
    assert (await scene.post())["accepted"] == 1
    await scene.recover()
    assert scene.delivered() == [*delivered, 40]


async def test_max_age_lets_go_of_what_nobody_took(down: Down) -> None:
    scene = await down(max_bytes="8MiB", max_age="200ms")
    for _ in range(5):
        assert (await scene.post())["accepted"] == 1
    await scene.daemon.line("buffer.dropped", outcome="expired", sink="demo")
    url = f"{scene.daemon.admin}/v1/status"
    await until(scene.session, url, lambda answer: not answer.json()["buffer"]["events"])
    found = await scene.metrics()
    assert (found["routed"], found["expired"], found["lag"]) == (5, 5, 0)
    assert scene.delivered() == []
    assert len(scene.losses()) == 1
