"""Failure mode 13: silent loss. Whatever happens, the accounts agree, from the metrics alone; and
when the trouble is over, every event is where it should be.
"""

import random
from datetime import timedelta
from pathlib import Path

import pytest
from delivery_kit import HANG, Place, Scripted, World

from forebay.buffer import Selection
from forebay.sinks import Batch, Hold, Limits, Quota, Rejected, Retry, TooLarge, Unit

STEPS = 100
STREAMS = ("a", "b.x", "b.y")
NAMES = ("s", "t", "p")


class Weather:
    """What a place answers, at random but from a seed; poison is refused in any weather."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.fair = False

    def __call__(self, batch: Batch) -> Scripted:
        poison = [row for row, event in enumerate(batch.events) if b'"poison"' in event]
        if not self.fair and self._chance.random() < 0.5:
            return self._chance.choice(
                [
                    Retry("HTTP 503", status=503) if poison else HANG,
                    Retry("reset", ambiguous=True),
                    Retry("HTTP 429", after=self._chance.uniform(0, 90), throttled=True),
                    Hold("HTTP 404"),
                    TooLarge("HTTP 413") if len(batch) > 3 else RuntimeError("a fault"),
                ]
            )
        if poison:
            named = poison if self._chance.random() < 0.5 else None
            return Rejected("HTTP 400", rows=named)
        return None


class Scenario:
    """Three sinks with different streams and orders, and everything that may happen to them."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.posted: dict[str, list[bytes]] = {"s": [], "t": [], "p": []}
        self.weather = Weather(self.chance)
        self.count = 0

    async def begin(self) -> None:
        quotas = (Quota("posts", Unit.REQUESTS, 20, 60.0), Quota("rows", Unit.EVENTS, 500, 600.0))
        strict = await self.world.add(
            "s", batch={"max_events": 12, "linger": 1}, limits=Limits(quotas=quotas)
        )
        loose = await self.world.add(
            "t", streams=("b.*",), order="none", max_in_flight=4, batch={"max_events": 5}
        )
        lanes = await self.world.add(
            "p", partition_by="n", max_in_flight=3, batch={"max_events": 20, "linger": 1}
        )
        strict.policy = loose.policy = lanes.policy = self.weather

    async def post(self) -> None:
        stream, count = self.chance.choice(STREAMS), self.chance.randint(1, 30)
        events = []
        for _ in range(count):
            self.count += 1
            kind = b"poison" if self.chance.random() < 0.03 else b"n"
            events.append(b'{"%s":%d}' % (kind, self.count))
        await self.world.post(*events, stream=stream)
        for name, posted in self.posted.items():
            if name != "t" or stream != "a":
                posted.extend(events)

    async def step(self) -> None:
        world, chance = self.world, self.chance
        match chance.choice(
            ["post"] * 4 + ["run"] * 4 + ["release"] * 2
            + ["restart", "reopen", "crash", "probe", "pause", "resume", "replay"]
        ):  # fmt: skip
            case "post":
                await self.post()
            case "run":
                await world.run(chance.choice((0.5, 5.0, 40.0)), after=world.check_accounts)
            case "release":
                self.place().release()
            case "restart":
                await world.restart(chance.choice(NAMES))
            case "reopen":
                await world.reopen()
            case "crash":
                await world.crash()
            case "replay":
                await world.store.replay(Selection(sink=chance.choice(NAMES)))
            case verb:
                getattr(world.pipelines[chance.choice(NAMES)], verb)()
        await world.idle()
        world.check_accounts()

    def place(self) -> Place:
        return self.world.sinks[self.chance.choice(NAMES)].place

    async def end(self) -> None:
        """The trouble is over: let everything arrive."""
        self.weather.fair = True
        for name, sink in self.world.sinks.items():
            sink.place.release()
            self.world.pipelines[name].resume()
        for name in NAMES:
            await self.world.drained(name)

    async def check(self) -> None:
        """Every event was delivered, or is a dead letter, or expired."""
        self.world.check_accounts()
        letters = await self.world.store.dead_letters(Selection(), 10_000)
        for name, posted in self.posted.items():
            state = self.world.state(name)
            stored = set(self.world.sinks[name].place.stored)
            dead = [letter.event for letter in letters if letter.sink == name]
            assert len(dead) == len(set(dead)) == state.dead_letters
            assert all(b"poison" in event for event in dead)
            assert not any(b"poison" in event for event in stored)
            assert stored <= set(posted)
            assert len(posted) - len(stored) - len(dead) <= state.expired
            assert state.routed == len(posted)
            assert state.dead_lettered == len(dead) + state.replayed


@pytest.mark.parametrize("max_age", [None, timedelta(minutes=5)], ids=["kept", "expiring"])
@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_every_event_is_accounted_for(
    tmp_path: Path, seed: int, max_age: timedelta | None
):
    chance = random.Random(-seed)
    async with World(tmp_path, random=chance.random, max_age=max_age) as world:
        scenario = Scenario(world, seed)
        await scenario.begin()
        for _ in range(STEPS):
            await scenario.step()
        await scenario.end()
        await scenario.check()
        assert max_age or not any(world.state(name).expired for name in NAMES)
