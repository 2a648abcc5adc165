"""All pipelines together: what breaks in one stays in it, and draining ends in time."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from delivery_kit import HANG, Place, ScriptedSink, World, numbered, options

from forebay.buffer import Selection
from forebay.daemon.deliveries import Deliveries
from forebay.daemon.settings import SinkSettings
from forebay.sinks import Context, Options, Rejected
from forebay.sinks.registry import SINKS


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


async def turns(world: World, count: int = 50) -> None:
    """Let everything run that can without the clock."""
    for _ in range(count):
        await world.store.flush()
        await asyncio.sleep(0)


async def next_try(world: World) -> None:
    """Until a pipeline that waits to be started again is."""
    world.clock.advance(world.clock.next())
    await turns(world)


async def test_a_pipeline_that_crashed_starts_again_and_the_others_never_notice(
    world: World, registered: type[Registered], logs: list[dict[str, Any]]
):
    async with running(world, "bad", "good", open_failures={"bad": 2}) as deliveries:
        bad, good = registered.places["bad"], registered.places["good"]
        before = dict(deliveries.pipelines)
        for number in range(3):
            await world.post(*numbered(3, start=3 * number))
            await turns(world)
            assert good.stored == numbered(3 * number + 3)
            assert bad.opened == number + 1
            await next_try(world)
        assert deliveries.pipelines["bad"] is not before["bad"]
        assert deliveries.pipelines["good"] is before["good"]
        assert bad.stored == numbered(9)
    crashes = [line for line in logs if line["event"] == "sink.crashed"]
    assert [line["sink"] for line in crashes] == ["bad", "bad"]


async def test_a_sink_that_cannot_be_built_again_is_tried_again_and_stops_nobody(
    world: World, registered: type[Registered]
):
    async with running(world, "bad", "good", open_failures={"bad": 1}):
        registered.unbuildable.add("bad")
        for number in range(3):
            await world.post(*numbered(3, start=3 * number))
            await turns(world)
            assert registered.places["good"].stored == numbered(3 * number + 3)
            await next_try(world)
        assert registered.places["bad"].opened == 1
        registered.unbuildable.clear()
        await next_try(world)
        assert registered.places["bad"].stored == numbered(9)


async def test_a_sink_that_a_person_paused_stays_paused_when_it_starts_again(
    world: World, registered: type[Registered]
):
    async with running(world, "s", open_failures={"s": 1}) as deliveries:
        place = registered.places["s"]
        await world.post(b"{}")
        await turns(world)
        deliveries.pipelines["s"].pause()
        await next_try(world)
        assert place.opened == 2
        assert deliveries.pipelines["s"].status().paused
        assert place.sent == []
        deliveries.pipelines["s"].resume()
        await turns(world)
        assert place.stored == [b"{}"]


async def test_draining_cuts_off_a_send_that_hangs_and_waits_for_nobody_else(
    world: World, registered: type[Registered]
):
    """Failure mode 9: and nothing of it counts as delivered."""
    async with running(world, "hung", "idle", "backing_off") as deliveries:
        hung = registered.places["hung"]
        hung.answers(HANG)
        await world.post(b"{}")
        await turns(world)
        assert hung.hanging == 1
        await deliveries.drain(1e-3)
        await world.store.flush()
        assert hung.hanging == 0
        assert {place.closed for place in registered.places.values()} == {1}
        assert hung.stored == []
        assert world.state("hung").lag == 1
        assert world.state("idle").lag == 0


async def test_draining_while_a_crashed_pipeline_waits_returns_at_once(
    world: World, registered: type[Registered]
):
    async with running(world, "s", open_failures={"s": 1}) as deliveries:
        await turns(world)
        now = world.clock.now
        await deliveries.drain(3600)
        assert world.clock.now == now
        assert registered.places["s"].opened == 1


async def test_draining_ends_although_the_disk_refuses_writes(
    world: World, registered: type[Registered]
):
    """Failure mode 15: or SIGTERM is not obeyed on a full disk; also in the middle of a replay."""
    async with running(world, "s", "replaying") as deliveries:
        registered.places["s"].answers(HANG)
        registered.places["replaying"].answers(Rejected("HTTP 400"), HANG)
        await world.post(b"{}")
        await turns(world)
        assert await world.store.replay(Selection(sink="replaying")) == 1
        await turns(world)
        assert [place.hanging for place in registered.places.values()] == [1, 1]
        with closing(sqlite3.connect(world.store.options.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # as another process that writes
            async with asyncio.timeout(30):  # bounds what would never end
                await deliveries.drain(1e-3)
            other.execute("ROLLBACK")
    assert {place.closed for place in registered.places.values()} == {1}


async def test_draining_ends_although_the_buffer_is_gone(
    tmp_path: Path, registered: type[Registered]
):
    """Or what stands after it in the shutdown is never reached."""
    async with World(tmp_path) as world, running(world, "s") as deliveries:
        await world.post(b"{}")
        await turns(world)
        await world.store.close()
        await deliveries.drain(1e-3)
    assert registered.places["s"].closed == 1


async def test_a_changed_sink_goes_on_where_it_was_and_the_others_never_notice(
    world: World, registered: type[Registered]
):
    async with asyncio.TaskGroup() as group:
        deliveries = Deliveries(world.around)
        for name in ("changed", "same", "gone"):
            registered.places[name] = Place(world.clock)
        slow, quick = options(batch={"linger": 60}), options(batch={"linger": 0})
        before = {name: SinkSettings("scripted", slow, Options()) for name in registered.places}
        await deliveries.apply(before, group, 1e-3)
        await world.post(*numbered(3))
        await turns(world)
        same = deliveries.pipelines["same"]
        after = before | {"changed": SinkSettings("scripted", quick, Options())}
        del after["gone"]
        applied = await deliveries.apply(after, group, 1e-3)
        await turns(world)
        assert (applied.added, applied.changed, applied.removed) == ((), ("changed",), ("gone",))
        assert registered.places["changed"].stored == numbered(3)
        assert deliveries.pipelines["same"] is same
        assert registered.places["gone"].closed == 1
        await next_try(world)
        assert registered.places["same"].stored == numbered(3)
        assert registered.places["same"].opened == 1
        await deliveries.drain(1e-3)
