"""All pipelines together: what breaks in one stays in it, and draining ends in time."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from math import inf
from pathlib import Path
from typing import Any, ClassVar

import pytest
from delivery_kit import HANG, Place, ScriptedSink, World, numbered, options

from forebay.buffer import Selection
from forebay.daemon.deliveries import Deliveries
from forebay.daemon.settings import SinkSettings
from forebay.sinks import Context, Options, Rejected, Retry
from forebay.sinks.registry import SINKS

Logs = list[dict[str, Any]]


class Registered(ScriptedSink):
    """A scripted sink as the registry builds it: by its name, whose place it finds."""

    places: ClassVar[dict[str, Place]] = {}
    unbuildable: ClassVar[set[str]] = set()

    def __init__(self, _: Any, context: Context) -> None:
        if context.name in self.unbuildable:
            raise OSError(2, "its certificate is gone")
        super().__init__(self.places[context.name], context)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> type[Registered]:
    monkeypatch.setitem(SINKS, "scripted", Registered)
    monkeypatch.setattr(Registered, "places", {})
    monkeypatch.setattr(Registered, "unbuildable", set())
    return Registered


@asynccontextmanager
async def running(
    world: World, *names: str, open_failures: Mapping[str, int] | None = None
) -> AsyncIterator[Deliveries]:
    """Deliveries to these sinks, until they are drained."""
    failures = open_failures or {}
    for name in names:
        Registered.places[name] = Place(world.clock, open_failures=failures.get(name, 0))
    opts = options(batch={"linger": 0})
    settings = {name: SinkSettings("scripted", opts, Options()) for name in names}
    deliveries = Deliveries(world.around)
    async with asyncio.TaskGroup() as group:
        await deliveries.apply(settings, group, 1e-3)
        try:
            yield deliveries
        finally:
            await deliveries.drain(1e-3)


async def until(world: World, condition: Callable[[], bool]) -> None:
    """Let everything run that can without the clock, until `condition` holds."""
    for _ in range(5000):
        if condition():
            return
        await world.store.flush()
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")


async def crashed(world: World, count: int, logs: Logs) -> None:
    """Until so many crashes were logged, and the last waits to be started again."""
    await until(
        world,
        lambda: (
            sum(line["event"] == "sink.crashed" for line in logs) == count
            and world.clock.next() < inf
        ),
    )


async def test_a_pipeline_that_crashed_starts_again_and_the_others_never_notice(
    world: World, registered: type[Registered], logs: Logs
):
    async with running(world, "bad", "good", open_failures={"bad": 2}) as deliveries:
        bad, good = registered.places["bad"], registered.places["good"]
        before = dict(deliveries.pipelines)
        for number in range(2):
            await world.post(*numbered(3, start=3 * number))
            await crashed(world, number + 1, logs)
            await until(world, lambda: not world.state("good").lag)
            assert bad.opened == number + 1
            world.clock.advance(world.clock.next())
        await until(world, lambda: not world.state("bad").lag)
        assert deliveries.pipelines["bad"] is not before["bad"]
        assert deliveries.pipelines["good"] is before["good"]
        assert good.stored == bad.stored == numbered(6)
    assert {line["sink"] for line in logs if line["event"] == "sink.crashed"} == {"bad"}


async def test_a_sink_that_cannot_be_built_again_is_tried_again_and_stops_nobody(
    world: World, registered: type[Registered], logs: Logs
):
    async with running(world, "bad", "good", open_failures={"bad": 1}):
        registered.unbuildable.add("bad")
        for number in range(3):
            await world.post(*numbered(3, start=3 * number))
            await crashed(world, number + 1, logs)
            await until(world, lambda: not world.state("good").lag)
            if number == 2:
                registered.unbuildable.clear()
            world.clock.advance(world.clock.next())
        await until(world, lambda: not world.state("bad").lag)
        assert registered.places["bad"].opened == 2
        assert registered.places["bad"].stored == numbered(9)


async def test_a_sink_that_a_person_paused_stays_paused_when_it_starts_again(
    world: World, registered: type[Registered], logs: Logs
):
    async with running(world, "s", open_failures={"s": 1}) as deliveries:
        place, first = registered.places["s"], deliveries.pipelines["s"]
        await crashed(world, 1, logs)
        first.pause()
        world.clock.advance(world.clock.next())
        await world.post(b"{}")
        await until(world, lambda: deliveries.pipelines["s"].status().in_flight == 1)
        assert deliveries.pipelines["s"] is not first
        assert deliveries.pipelines["s"].status().state == "paused"
        deliveries.pipelines["s"].resume()
        await until(world, lambda: place.stored == [b"{}"])


async def test_draining_cuts_off_a_send_that_hangs_and_waits_for_nobody_else(
    world: World, registered: type[Registered]
):
    """Failure mode 9: and nothing of it counts as delivered."""
    async with running(world, "hung", "idle", "backing_off") as deliveries:
        hung = registered.places["hung"]
        hung.answers(HANG)
        registered.places["backing_off"].answers(Retry("no", after=3600))
        await world.post(b"{}")
        await until(world, lambda: hung.hanging == 1 and not world.state("idle").lag)
        await until(world, lambda: world.clock.next() < inf)
        await deliveries.drain(1e-3)
        assert hung.hanging == 0
    assert {place.closed for place in registered.places.values()} == {1}
    assert hung.stored == []
    lag = {name: world.state(name).lag for name in registered.places}
    assert lag == {"hung": 1, "idle": 0, "backing_off": 1}


async def test_draining_while_a_crashed_pipeline_waits_returns_at_once(
    world: World, registered: type[Registered], logs: Logs
):
    async with running(world, "s", open_failures={"s": 1}) as deliveries:
        await crashed(world, 1, logs)
        now = world.clock.now
        await deliveries.drain(3600)
        assert world.clock.now == now
        assert registered.places["s"].opened == 1


async def test_draining_ends_although_the_disk_refuses_writes(
    world: World, registered: type[Registered]
):
    """Failure mode 15: or SIGTERM is not obeyed on a full disk; also in the middle of a replay."""
    async with running(world, "s", "replaying") as deliveries:
        places = registered.places
        places["s"].answers(HANG)
        places["replaying"].answers(Rejected("HTTP 400"), HANG)
        await world.post(b"{}")
        await until(world, lambda: world.state("replaying").dead_letters == 1)
        assert await world.store.replay(Selection(sink="replaying")) == 1
        await until(world, lambda: [place.hanging for place in places.values()] == [1, 1])
        with closing(sqlite3.connect(world.store.options.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # as another process that writes
            async with asyncio.timeout(30):  # bounds what would never end
                await deliveries.drain(1e-3)
            other.execute("ROLLBACK")
    assert {place.closed for place in places.values()} == {1}


async def test_draining_ends_although_the_buffer_is_gone(
    tmp_path: Path, registered: type[Registered]
):
    """Or what stands after it in the shutdown is never reached."""
    async with World(tmp_path) as world, running(world, "s") as deliveries:
        await until(world, lambda: registered.places["s"].opened == 1)
        await world.store.close()
        await deliveries.drain(1e-3)
    assert registered.places["s"].closed == 1


async def test_a_changed_sink_goes_on_where_it_was_and_the_others_never_notice(
    world: World, registered: type[Registered]
):
    places = registered.places
    places |= {name: Place(world.clock) for name in ("changed", "same", "gone")}
    slow, quick = options(batch={"linger": 60}), options(batch={"linger": 0})
    settings = {name: SinkSettings("scripted", slow, Options()) for name in places}
    deliveries = Deliveries(world.around)
    async with asyncio.TaskGroup() as group:
        await deliveries.apply(settings, group, 1e-3)
        await world.post(*numbered(3))
        same = deliveries.pipelines["same"]
        settings["changed"] = SinkSettings("scripted", quick, Options())
        del settings["gone"]
        applied = await deliveries.apply(settings, group, 1e-3)
        assert (applied.added, applied.changed, applied.removed) == ((), ("changed",), ("gone",))
        await until(world, lambda: not world.state("changed").lag)
        assert places["changed"].stored == numbered(3)
        assert deliveries.pipelines["same"] is same
        await until(world, lambda: world.clock.next() < inf)
        world.clock.advance(world.clock.next())
        await until(world, lambda: not world.state("same").lag)
        assert places["same"].stored == numbered(3)
        await deliveries.drain(1e-3)
    assert {name: (place.opened, place.closed) for name, place in places.items()} == {
        "changed": (2, 2), "same": (1, 1), "gone": (1, 1),
    }  # fmt: skip
    assert world.state("gone").lag == 3
