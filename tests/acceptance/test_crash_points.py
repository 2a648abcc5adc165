"""Killed between any two steps of bookkeeping: nothing is lost, and no more repeats than was sent.

The sink is `http`, which records a batch before it is sent; it posts to the emulator. Of each life
that a point ended, the file tells which batches were in flight: only their events may come again.
"""

import json
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from daemon_process import (
    JSON,
    NDJSON,
    Daemon,
    ask,
    post,
    tell,
    until,
    write_config,
)
from patience import PatientEmulator
from prometheus_client.parser import text_string_to_metric_families

from forebay.buffer import (
    BufferOptions,
    DeadLetter,
    Entry,
    Outcome,
    Selection,
    SinkState,
    Store,
)
from forebay.buffer.crash import POINTS, VARIABLE
from forebay.buffer.database import open_writer
from forebay.buffer.transaction import load
from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]

MOST_REQUESTS = 1000
POISON = {"kind": "bad"}


@dataclass
class Scene:
    """One test's daemon, its sink, and what its clients were told."""

    launch: Launch
    session: aiohttp.ClientSession
    emulator: Emulator
    directory: Path
    buffer: dict[str, Any] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    """The seq of every id that got its 200."""
    asked: list[str] = field(default_factory=list)
    """Every id that was posted."""
    _requests: Iterator[int] = field(default_factory=count)

    @property
    def file(self) -> Path:
        return self.directory / "buffer.db"

    def configure(self, *sinks: str) -> Path:
        http = {
            "type": "http",
            "url": self.emulator.push_url(),
            "batch": {"linger": "2ms", "max_events": 16},
            "retry": {"base": "5ms", "cap": "50ms"},
            "breaker": {"failures": 1000},
        }
        return write_config(
            self.directory,
            buffer=self.buffer,
            sinks={name: http if name == "demo" else {"type": "stdout"} for name in sinks},
        )

    async def dies(self, point: str, *sinks: str) -> Daemon:
        """A daemon that is ready, and is to die at `point`."""
        return await self.launch(self.configure(*sinks or ("demo",)), variables={VARIABLE: point})

    async def load(self, daemon: Daemon) -> None:
        """Single events, several at once, and poison, one request after the other until it ends."""
        for _ in range(MOST_REQUESTS):
            if not await self.post(daemon):
                return
        raise AssertionError("it never came there")

    def request(self) -> list[dict[str, str]]:
        """The events of the next request. Every fourth has one that the sink does not take."""
        number = next(self._requests)
        events = [{"id": f"{number}-{index}"} for index in range((1, 5, 1, 3)[number % 4])]
        if number % 4 == 3:
            events[1] |= POISON
        self.asked += [event["id"] for event in events]
        return events

    async def post(self, daemon: Daemon) -> bool:
        """One request; whether it was answered."""
        events = self.request()
        url = f"{daemon.ingest}/v1/events/demo"
        body, headers = ndjson(events), JSON if len(events) == 1 else NDJSON
        try:
            answer = await ask(self.session, "POST", url, data=body, headers=headers)
        except (aiohttp.ClientError, OSError):
            return False
        assert answer.status == 200, answer
        self._promised(events, answer.json()["first_seq"])
        return True

    async def prepare(self, *, refused: bool) -> None:
        """A log in which events wait, or are dead letters."""
        async with self.store() as store:
            await store.subscribe("demo", ("*",), start_now=False)
            for seq in range(1, 5):
                event = {"id": f"prepared-{seq}"}
                self.asked.append(event["id"])
                payload = ndjson([event])
                await store.append(Entry("demo", payload, 1))
                self._promised([event], seq)
                if refused:
                    letter = DeadLetter("demo", "demo", seq, 1.0, 1.0, 1, 400, "no", payload)
                    store.settle("demo", seq, seq, {Outcome.DEAD_LETTERED: 1}, [letter])

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        """The log, while no daemon has it."""
        store = Store(BufferOptions(path=self.file))
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    def _promised(self, events: list[dict[str, str]], first: int) -> None:
        self.acknowledged |= {event["id"]: first + index for index, event in enumerate(events)}

    async def restart_emulator(self) -> None:
        """Nothing that a killed daemon has sent comes in after this."""
        port = urlsplit(self.emulator.url).port
        assert port is not None
        await self.emulator.close()
        await self.emulator.start(port=port)
        self.emulator.fault("poison", match=POISON)

    @property
    def arrived(self) -> list[str]:
        """The id of every row that the sink holds."""
        return [json.loads(row)["id"] for row in self.emulator.rows("demo")]

    def state(self) -> SinkState:
        """The sink as a dead daemon has left it in its file; looked at in a copy."""
        copy = self.directory / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in self.directory.glob("buffer.db*"):
            shutil.copy(file, copy)
        with closing(open_writer(BufferOptions(path=copy / "buffer.db"))) as database:
            return load(database).sinks["demo"]

    def dead_letters(self, *, replaying: bool = False) -> list[str]:
        """The ids of the dead letters in the file."""
        query = "SELECT event FROM dead_letters WHERE replaying = ?"
        with closing(sqlite3.connect(self.file)) as database:
            rows = database.execute(query, (replaying,)).fetchall()
        return [json.loads(event)["id"] for (event,) in rows]


def ndjson(events: list[dict[str, str]]) -> bytes:
    return "\n".join(json.dumps(event) for event in events).encode()


@pytest.fixture
async def scene(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> AsyncIterator[Scene]:
    async with PatientEmulator(latency="5ms") as emulator:
        emulator.fault("poison", match=POISON)
        yield Scene(launch, session, emulator, tmp_path)


async def lag_is_gone(scene: Scene, daemon: Daemon) -> None:
    url = f"{daemon.admin}/v1/status"
    await until(scene.session, url, lambda answer: not answer.json()["sinks"]["demo"]["lag_events"])


# ── how each point is passed ─────────────────────────────────────────────────────────────────────


async def under_load(scene: Scene, point: str) -> None:
    daemon = await scene.dies(point)
    await scene.load(daemon)
    await killed(daemon)


async def at_the_start(scene: Scene, point: str) -> None:
    """Before it is ready, with events that wait."""
    await scene.prepare(refused=False)
    await killed(await Daemon.start(scene.configure("demo"), variables={VARIABLE: point}))


async def expiring(scene: Scene, point: str) -> None:
    scene.buffer = {"max_age": "100ms"}
    scene.emulator.fault("status", status=503)
    await under_load(scene, point)
    scene.buffer = {}


async def damaged(scene: Scene, point: str) -> None:
    await scene.prepare(refused=False)
    with closing(sqlite3.connect(scene.file)) as database, database:
        database.execute("UPDATE segments SET checksum = checksum + 1 WHERE first_seq = 2")
    await killed(await Daemon.start(scene.configure("demo"), variables={VARIABLE: point}))


async def reloading(scene: Scene, point: str) -> None:
    daemon = await scene.dies(point, "demo", "leaving")
    for _ in range(8):
        assert await scene.post(daemon)
    scene.configure("demo")
    daemon.signal(signal.SIGHUP)
    await scene.load(daemon)
    await killed(daemon)


async def putting_back(scene: Scene, point: str) -> None:
    await scene.prepare(refused=True)
    daemon = await scene.dies(point)
    url, wanted = f"{daemon.admin}/v1/dead-letters/replay", {"sink": "demo", "all": True}
    with pytest.raises(aiohttp.ClientError):
        await ask(scene.session, "POST", url, json=wanted)
    await killed(daemon)
    assert len(scene.dead_letters()) == 4


async def replaying(scene: Scene, point: str) -> None:
    await scene.prepare(refused=True)
    async with scene.store() as store:
        assert await store.replay(Selection(sink="demo")) == 4
    await killed(await Daemon.start(scene.configure("demo"), variables={VARIABLE: point}))
    assert len(scene.dead_letters(replaying=True)) == 4


async def killed(daemon: Daemon) -> None:
    assert await daemon.ended() == -signal.SIGKILL, daemon.text


# The passage is one in the midst of the load: the first ones belong to the start.
CASES: Mapping[str, Callable[[Scene, str], Awaitable[None]]] = {
    "commit.begin:9": under_load,
    "commit.inserted": at_the_start,
    "commit.inserted:9": under_load,
    "commit.committed:9": under_load,
    "dead_letters.buried:2": under_load,
    "dead_letters.put_back": putting_back,
    "dead_letters.settled_again": replaying,
    "quarantine.moved": damaged,
    "maintenance.expired:2": expiring,
    "maintenance.trimmed:2": under_load,
    "maintenance.committed:4": under_load,
    "checkpoint.before:4": under_load,
    "checkpoint.after:4": under_load,
    "delivery.read:3": under_load,
    "delivery.recorded:3": under_load,
    "delivery.answered": under_load,
    "delivery.settled:3": under_load,
    "sinks.abandoned": at_the_start,
    "sinks.abandoned:2": reloading,
}


def test_every_point_has_its_case() -> None:
    assert {case.partition(":")[0] for case in CASES} == POINTS


# ── the audit ────────────────────────────────────────────────────────────────────────────────────


async def metrics(scene: Scene, daemon: Daemon) -> dict[str, float]:
    """The counters of the sink, by outcome; routed and lag among them."""
    answer = await ask(scene.session, "GET", f"{daemon.admin}/metrics")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            if sample.labels.get("sink") == "demo" and sample.name.startswith("forebay_sink_"):
                name = sample.name.removeprefix("forebay_sink_")
                found[sample.labels.get("outcome", "") if name == "events_total" else name] = (
                    sample.value
                )
    return found


def unaccounted(found: Mapping[str, float]) -> float:
    done = ("delivered", "dead_lettered", "dropped", "expired", "quarantined", "lag_events")
    return found["routed_events_total"] + found["replayed"] - sum(found[name] for name in done)


@pytest.mark.parametrize("point", CASES)
async def test_a_kill_between_two_steps_loses_nothing(scene: Scene, point: str) -> None:
    """Failure mode 4."""
    await CASES[point](scene, point)
    await scene.restart_emulator()
    before, left, back_in_line = scene.arrived, scene.state(), scene.dead_letters(replaying=True)

    daemon = await scene.launch(scene.configure("demo"))
    answer = await post(scene.session, daemon, b'{"id": "fresh"}')
    scene.acknowledged["fresh"] = answer.json()["first_seq"]
    await lag_is_gone(scene, daemon)
    found = await metrics(scene, daemon)
    assert await daemon.stop() == 0

    arrived, letters = scene.arrived, scene.dead_letters()
    # Nothing is lost: it is there, or a dead letter, or one of those that the log counted.
    missing = scene.acknowledged.keys() - {*arrived, *letters}
    counted = int(found["dropped"] + found["expired"] + found["quarantined"])
    assert len(missing) <= counted <= len({*scene.asked} - {*arrived, *letters}), missing
    assert {*arrived, *letters} <= {*scene.asked, "fresh"}
    assert len(letters) == len(set(letters))
    assert unaccounted(found) == 0, found
    # Nothing comes again but what was in flight, or on its way back from the dead letters.
    after = arrived[len(before) :]
    assert len(before) == len(set(before)), "twice from one process"
    assert len(after) == len(set(after)), "twice from one process"
    again = set(before) & set(after)
    repeated = again - set(back_in_line)
    flying = sum(last - first + 1 for first, last in left.in_flight)
    assert len(repeated) <= flying
    for seq in (scene.acknowledged[id_] for id_ in repeated & scene.acknowledged.keys()):
        assert any(first <= seq <= last for first, last in left.in_flight)
        assert not left.cursor.covers(seq, seq), "settled, and sent again"
    tell(
        f"{point}: {len(scene.acknowledged)} acknowledged, {len(letters)} dead letters, "
        f"{counted} counted as lost, none missing; repeated {len(repeated)} of {flying} in flight, "
        f"{len(again - repeated)} of {len(back_in_line)} replayed"
    )
