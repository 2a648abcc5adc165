"""Stopping, crashing and starting again; and a log that was damaged meanwhile."""

import sqlite3
from contextlib import closing

from delivery_kit import HANG, World, numbered

from forebay.buffer import Outcome
from forebay.sinks import Hold, Limits, Quota, Rejected, Retry, Unit

AT_ONCE = {"linger": 0}


async def ended(world: World, name: str = "s") -> bool:
    """Whether the pipeline has returned by itself."""
    await world.idle()
    return world.sinks[name].task.done()


async def test_draining_an_idle_pipeline_returns_at_once(world: World):
    place = await world.add()
    await world.idle()
    world.pipelines["s"].drain()
    assert await ended(world)
    assert (place.opened, place.closed) == (1, 1)


async def test_draining_while_a_batch_lingers_leaves_it_for_the_next_process(world: World):
    place = await world.add(batch={"linger": 60})
    await world.post(*numbered(3))
    await world.idle()
    world.pipelines["s"].drain()
    assert await ended(world)
    assert place.sent == []
    await world.reopen()
    await world.drained()
    assert world.sinks["s"].place.stored == numbered(3)


async def test_draining_waits_for_a_send_under_way_and_settles_it(world: World):
    """Failure mode 9."""
    place = await world.add(batch={"linger": 0, "max_events": 2})
    place.answers(HANG)
    await world.post(*numbered(6))
    await world.idle()
    world.pipelines["s"].drain()
    assert not await ended(world)
    place.release()
    assert await ended(world)
    assert place.stored == numbered(2), "and nothing more was started"
    await world.reopen()
    await world.drained()
    assert place.stored == numbered(6), "nothing twice"
    world.check_accounts()


async def test_draining_during_a_back_off_returns_at_once(world: World):
    answers = {"failed": Retry("no"), "asked": Retry("no", after=3600), "held": Hold("no")}
    for name, answer in answers.items():
        place = await world.add(name, batch=AT_ONCE, breaker={"failures": 1})
        place.answers(answer)
    await world.post(b"{}")
    await world.idle()
    now = world.clock.now
    for name in answers:
        world.pipelines[name].drain()
        assert await ended(world, name)
        assert world.state(name).lag == 1
    assert world.clock.now == now


async def test_draining_a_paused_sink_returns_at_once(world: World):
    place = await world.add(batch=AT_ONCE)
    world.pipelines["s"].pause()
    await world.post(b"{}")
    await world.idle()
    world.pipelines["s"].drain()
    assert await ended(world)
    assert place.sent == []


async def test_a_crash_in_a_send_repeats_the_same_batch_and_no_more(world: World):
    place = await world.add(batch={"linger": 0, "max_events": 5})
    place.answers(None, HANG)
    await world.post(*numbered(20))
    await world.idle()
    await world.reopen()
    await world.drained()
    assert place.stored == numbered(20), "a hanging send stores nothing here"
    assert place.sent[1] == place.sent[2], "the same events with the same id"
    assert len(place.sent) == 5
    world.check_accounts()


async def test_a_batch_keeps_its_boundaries_and_its_id_over_a_crash(world: World):
    """Or a sink that deduplicates by the id takes the larger batch for another one."""
    place = await world.add(batch=AT_ONCE)
    place.answers(HANG)
    await world.post(*numbered(3))
    await world.idle()
    await world.post(*numbered(5, start=3))
    await world.crash()
    await world.drained()
    assert place.sent[0] == place.sent[1]
    assert [sent.events for sent in place.sent[1:]] == [
        tuple(numbered(3)), tuple(numbered(5, start=3)),
    ]  # fmt: skip
    assert world.state().possible_duplicate == 3
    assert world.state().in_flight == ()
    world.check_accounts()


async def test_all_batches_that_were_under_way_come_again_as_they_were(world: World):
    place = await world.add(order="none", max_in_flight=3, batch={"linger": 0, "max_events": 2})
    place.policy = lambda _: HANG
    await world.post(*numbered(31))
    await world.idle()
    while place.hanging < 3:
        place.release()
        await world.idle()
    flying = place.sent[-3:]
    place.policy = lambda _: None
    await world.post(*numbered(4, start=31))
    await world.reopen()
    await world.drained()
    ids = [sent.id for sent in place.sent]
    assert [ids.count(sent.id) for sent in flying] == [2, 2, 2]
    assert sorted(place.stored) == sorted(numbered(35))
    assert world.state().possible_duplicate == 6
    world.check_accounts()


async def test_a_crash_in_the_middle_of_a_split_repeats_nothing_that_was_settled(world: World):
    place = await world.add(batch=AT_ONCE)
    place.answers(Rejected("HTTP 400"), None, Rejected("HTTP 400"), None, HANG)
    await world.post(*numbered(8))
    await world.idle()
    assert place.stored == numbered(6)
    await world.reopen()
    await world.drained()
    assert place.stored == numbered(8)
    world.check_accounts()


async def test_a_sink_that_takes_other_streams_now_still_goes_on(world: World):
    place = await world.add(streams=("a", "b"), batch={"linger": 0, "max_events": 2})
    place.answers(HANG)
    await world.post(*numbered(2), stream="b")
    await world.idle()
    await world.post(*numbered(2, start=2), stream="a")
    world.sinks["s"].options = world.sinks["s"].options.model_copy(update={"streams": ("a",)})
    await world.reopen()
    await world.drained()
    assert place.stored == numbered(2, start=2)
    assert world.state().dropped == 2
    world.check_accounts()


async def test_no_quota_begins_anew_with_a_restart(world: World):
    place = await world.add(
        batch={"linger": 0, "max_events": 10},
        limits=Limits(
            quotas=(
                Quota("posts", Unit.REQUESTS, 4, 60.0),
                Quota("rows", Unit.EVENTS, 60, 3600.0),
            )
        ),
    )
    place.answers(None, None, HANG)
    await world.post(*numbered(100))
    await world.idle()
    assert place.hanging == 1
    await world.crash()  # in the middle of the third
    await world.run(30)
    assert len(place.sent) == 4
    await world.reopen()
    await world.run(29)
    assert len(place.sent) == 4
    await world.drained()
    for start in place.times:
        within = [sent for sent in place.sent if start <= sent.at < start + 60]
        assert len(within) <= 4
        within = [sent for sent in place.sent if start <= sent.at < start + 3600]
        assert sum(len(sent.events) for sent in within) <= 60
    assert place.stored == numbered(100)


async def test_a_damaged_segment_costs_its_own_events_and_no_others(world: World):
    """Failure mode 6."""
    for number in range(5):
        await world.post(*numbered(3, start=3 * number))
    await world.reopen()  # the newest events are in memory, and damage would not be noticed
    damage(world, 7)
    place = await world.add(batch={"linger": 0, "max_events": 4})
    other = await world.add("other", batch=AT_ONCE)
    await world.drained()
    await world.drained("other")
    good = [event for event in numbered(15) if event not in numbered(3, start=6)]
    assert place.stored == other.stored == good
    assert world.state().quarantined == world.state("other").quarantined == 3
    assert world.registry.get_sample_value("forebay_buffer_quarantined_segments_total") == 1
    await world.post(b'{"fresh":1}')
    await world.drained()
    assert place.stored[-1] == b'{"fresh":1}'
    world.check_accounts()


def damage(world: World, first_seq: int) -> None:
    with closing(sqlite3.connect(world.store.options.path, isolation_level=None)) as database:
        cursor = database.execute(
            "UPDATE segments SET data = zeroblob(length(data)) WHERE first_seq = ?", (first_seq,)
        )
        assert cursor.rowcount == 1


async def test_what_others_gave_up_in_the_middle_of_a_send_is_counted_once(world: World):
    place = await world.add(batch=AT_ONCE)
    place.answers(HANG)
    await world.post(*numbered(4))
    await world.post(*numbered(4, start=4))
    await world.idle()
    world.store.settle("s", 1, 2, {Outcome.EXPIRED: 2})
    await world.store.flush()
    place.release()
    await world.drained()
    world.check_accounts()
    assert world.state().expired == 2
    assert world.state().delivered == 6
