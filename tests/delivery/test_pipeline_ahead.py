"""Reading ahead and sleeping: what costs nothing must change nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

from delivery_kit import HANG, World, numbered

from forebay.buffer import Outcome, Store


async def test_a_sink_that_hangs_is_not_woken_by_what_comes_in(world: World):
    place = await world.add(batch={"max_events": 2, "linger": 0})
    place.answers(HANG)
    await world.post(*numbered(2))
    await world.idle()
    waits = world.clock.waits
    for number in range(2, 30):
        await world.post(*numbered(1, start=number))
        await world.idle()
    assert world.clock.waits == waits
    assert world.pipelines["s"].status().lag_seconds == 0
    place.release()
    await world.drained()
    assert place.stored == numbered(30)


async def test_who_waits_for_company_is_woken_only_when_the_batch_is_full(world: World):
    place = await world.add(batch={"max_events": 20, "linger": 2})
    await world.post(*numbered(1))
    await world.idle()
    waits, began = world.clock.waits, world.clock.now
    for number in range(1, 19):
        await world.post(*numbered(1, start=number))
        await world.idle()
    assert (world.clock.waits, place.sent) == (waits, [])
    await world.post(*numbered(1, start=19))
    await world.idle()
    assert place.stored == numbered(20)
    assert place.times == [began]


async def test_what_came_while_a_send_hung_lingers_from_when_it_came(world: World):
    place = await world.add(batch={"linger": 2})
    place.answers(HANG)
    await world.post(b"[0]")
    await world.until(lambda: place.hanging == 1)
    await world.run(5)
    await world.post(b"[1]")
    came = world.clock.now
    await world.run(1.5)
    place.release()
    await world.idle()
    assert len(place.sent) == 1, "it is not due yet"
    await world.drained()
    assert place.times[1] == came + 2


async def test_lag_is_the_age_of_the_first_event_that_waits_although_nobody_wakes(world: World):
    await world.add(batch={"linger": 100})
    await world.post(b"{}")
    await world.run(3)
    await world.post(b"{}")
    await world.run(4)
    assert world.pipelines["s"].lag_seconds() == 7


async def test_a_batch_read_ahead_is_neither_recorded_nor_sent_before_its_turn(world: World):
    place = await world.add(batch={"max_events": 10})
    place.answers(HANG)
    await world.post(*numbered(35))
    await world.idle()
    assert world.state().in_flight == ((1, 10),)
    assert len(world.pipelines["s"]._reader._ready) > 0, "it was read ahead"
    await world.restart("s")
    await world.drained()
    assert [sent.id.split("/")[-1] for sent in place.sent] == [
        "1-10", "1-10", "11-20", "21-30", "31-35",
    ]  # fmt: skip
    assert world.metric("sink_events_total", outcome="possible_duplicate") == 10
    world.check_accounts()


async def test_what_expires_after_it_was_read_ahead_is_not_sent(world: World):
    place = await world.add(batch={"max_events": 10})
    place.answers(HANG)
    await world.post(*numbered(40))
    await world.idle()
    world.store.settle("s", 11, 15, {Outcome.EXPIRED: 5})
    await world.store.flush()
    place.release()
    await world.drained()
    assert place.stored == numbered(10) + numbered(25, start=15)
    assert world.state().expired == 5
    world.check_accounts()


async def test_after_a_reload_a_batch_read_ahead_keeps_to_the_new_limits(world: World):
    place = await world.add(batch={"max_events": 10})
    place.answers(HANG)
    await world.post(*numbered(30))
    await world.idle()
    await world.reload("s", batch={"max_events": 4})
    await world.drained()
    assert [len(sent.events) for sent in place.sent] == [10, 10, 4, 4, 4, 4, 4]
    assert place.stored == numbered(30)


async def test_what_is_held_in_memory_for_a_sink_that_hangs_is_bounded(world: World):
    place = await world.add(batch={"max_events": 10, "linger": 0})
    place.answers(HANG)
    for number in range(60):
        await world.post(*numbered(5, start=5 * number))
        await world.idle()
    assert sum(part.count for part in world.pipelines["s"]._reader._ready) <= 15
    assert world.clock.next() == inf
    place.release()
    await world.drained()
    assert place.stored == numbered(300)


async def test_a_log_that_cannot_be_read_ahead_does_not_cut_off_the_send_under_way(world: World):
    await world.store.subscribe("s", ("*",), start_now=False)
    await world.post(*numbered(20))
    await world.post(*numbered(10, start=20))
    await world.reopen()  # so that they are read from the file
    place = await world.add(batch={"max_events": 10})
    place.answers(HANG, HANG)
    await world.idle()
    connection = world.store._connection
    await connection.set_progress_handler(lambda: 1, 1)  # SQLite interrupts every query
    place.release()
    await world.idle()
    assert world.pipelines["s"]._reader._ready_to == 21, "the rest was not read ahead"
    assert (len(place.sent), place.hanging) == (2, 1)
    await connection.set_progress_handler(None, 0)
    place.release()
    await world.drained()
    assert [len(sent.events) for sent in place.sent] == [10, 10, 10]
    assert place.stored == numbered(30)
    world.check_accounts()


@asynccontextmanager
async def held_up(store: Store) -> AsyncIterator[None]:
    """Reads of the file wait in line behind a query, which ends when this does."""
    go_on = threading.Event()
    await store._connection.create_function("hold_up", 0, go_on.wait)
    query = asyncio.create_task(store._connection.execute_fetchall("SELECT hold_up()"))
    try:
        yield
    finally:
        go_on.set()
        await query


async def test_what_comes_while_a_read_finds_that_all_has_expired_is_not_forgotten(world: World):
    await world.store.subscribe("s", ("*",), start_now=False)
    await world.post(b"[0]")
    await world.reopen()  # so that it is read from the file
    async with held_up(world.store):
        place = await world.add(batch={"linger": 0})
        world.store.settle("s", 1, 1, {Outcome.EXPIRED: 1})
        await world.post(b"[1]")
        assert (place.opened, world.clock.waiting) == (1, 0), "the read is under way"
    await world.drained()
    assert place.stored == [b"[1]"]
    assert world.state().expired == 1
    world.check_accounts()
