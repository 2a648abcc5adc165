"""The ordinary way: what comes in goes out, in order, once."""

from delivery_kit import HANG, World, numbered

from forebay.sinks import Limits


async def test_events_are_delivered_in_order_each_once(world: World):
    place = await world.add(batch={"max_events": 7})
    events = numbered(50)
    for event in events:
        await world.post(event)
    await world.drained()
    assert place.stored == events
    assert place.most_under_way == 1
    world.check_accounts()


async def test_the_last_event_of_a_burst_does_not_wait_for_the_next_one(world: World):
    place = await world.add(batch={"linger": 2})
    began = world.clock.now
    await world.post(b"{}")
    await world.run(1.5)
    await world.post(b"{}")
    await world.idle()
    assert place.sent == []
    await world.drained()
    assert [(sent.at - began, len(sent.events)) for sent in place.sent] == [(2, 2)]


async def test_a_full_batch_does_not_wait_and_the_rest_lingers(world: World):
    place = await world.add(batch={"max_events": 10, "linger": 2})
    began = world.clock.now
    await world.post(*numbered(25))
    await world.idle()
    assert [len(sent.events) for sent in place.sent] == [10, 10]
    await world.drained()
    assert [(sent.at - began, len(sent.events)) for sent in place.sent[2:]] == [(2, 5)]


async def test_a_batch_of_enough_bytes_does_not_wait_and_is_not_larger(world: World):
    place = await world.add(batch={"max_bytes": 100, "linger": 2})
    await world.post(*[b'{"a":"%s"}' % (b"x" * 22)] * 10)  # 30 bytes each, 31 with the newline
    await world.idle()
    assert [len(sent.events) for sent in place.sent] == [3, 3, 3]
    await world.drained()
    assert len(place.stored) == 10


async def test_a_batch_keeps_to_what_the_sink_takes_at_once(world: World):
    place = await world.add(limits=Limits(events=4, nbytes=20), batch={"linger": 0})
    await world.post(*numbered(10))
    await world.post(b'{"a":"%s"}' % (b"x" * 100))
    await world.drained()
    sizes = [(len(sent.events), len(b"\n".join(sent.events))) for sent in place.sent]
    assert all(size <= 20 for count, size in sizes if count > 1)
    assert max(count for count, _ in sizes) == 2
    assert len(place.stored) == 11


async def test_a_batch_goes_over_streams_and_segments(world: World):
    place = await world.add(streams=("a", "b.*"))
    await world.post(b'{"n":1}', b'{"n":2}')
    await world.post(b'{"n":3}', stream="b.x")
    await world.post(b'{"n":4}')
    await world.drained()
    assert [sent.events for sent in place.sent] == [
        (b'{"n":1}', b'{"n":2}', b'{"n":3}', b'{"n":4}')
    ]
    assert place.sent[0].id == f"{world.store.ledger.instance}/s/1-4"


async def test_events_of_other_streams_only_move_the_cursor(world: World):
    await world.add("other", streams=("b",))
    place = await world.add(streams=("a",))
    for _ in range(5):
        await world.post(b"{}", stream="b")
        await world.post(b"[1]", stream="a")
        await world.post(b"{}", stream="b")
    await world.drained("s")
    await world.drained("other")
    assert place.stored == [b"[1]"] * 5
    assert world.state().routed == 5
    assert world.store.ledger.first_seq == world.store.ledger.next_seq, "all can be trimmed"
    world.check_accounts()


async def test_an_event_with_attributes_does_not_stop_its_sink(world: World):
    place = await world.add()
    await world.post(b"{}", attributes=({"id": "1", "source": "x"},))
    await world.drained()
    assert place.stored == [b"{}"]


async def test_a_sink_that_hangs_costs_the_others_nothing(world: World):
    """Failure mode 14."""
    stuck, healthy = await world.add("stuck"), await world.add("healthy")
    stuck.policy = lambda _: HANG
    for number in range(20):
        await world.post(b'{"n":%d}' % number)
        await world.drained("healthy")
        world.check_accounts()
    assert len(healthy.sent) == 20
    assert len(stuck.sent) == stuck.hanging == 1
    assert world.state("stuck").lag == 20
    assert world.pipelines["healthy"].status().state == "idle"


async def test_paused_sends_nothing_and_resume_goes_on(world: World):
    place = await world.add()
    world.pipelines["s"].pause()
    await world.post(b"{}")
    await world.run(3600)
    status = world.pipelines["s"].status()
    assert (place.sent, status.state, status.paused, status.retry_at) == ([], "paused", True, None)
    assert 3600 - 1 <= status.lag_seconds <= 3600 + 1
    world.pipelines["s"].resume()
    await world.idle()
    assert place.stored == [b"{}"]
    status = world.pipelines["s"].status()
    assert (status.state, status.paused, status.lag_seconds) == ("idle", False, 0)


async def test_a_send_under_way_ends_although_the_sink_is_paused(world: World):
    place = await world.add(batch={"linger": 0})
    place.answers(HANG)
    await world.post(b"{}")
    await world.idle()
    world.pipelines["s"].pause()
    place.release()
    await world.idle()
    assert place.stored == [b"{}"]
    assert not world.state().lag


async def test_without_order_several_batches_are_under_way_up_to_the_most(world: World):
    place = await world.add(order="none", max_in_flight=3, batch={"max_events": 1, "linger": 0})
    place.policy = lambda _: HANG
    await world.post(*numbered(40))
    while world.state().lag:
        await world.idle()
        assert place.hanging == min(world.pipelines["s"].status().in_flight, 3)
        place.release()
        await world.idle()
        world.check_accounts()
    assert sorted(place.stored) == sorted(numbered(40))
    assert place.most_under_way == 3
    assert len(place.sent) == 40
    assert world.store.ledger.first_seq == world.store.ledger.next_seq


async def test_pending_sends_stay_within_what_the_sink_documents(world: World):
    place = await world.add(
        limits=Limits(pending=2),
        order="none",
        max_in_flight=16,
        batch={"max_events": 1, "linger": 0},
    )
    place.policy = lambda _: HANG
    await world.post(*numbered(30))
    while world.state().lag:
        await world.idle()
        place.release()
    assert place.most_under_way == 2
    assert sorted(place.stored) == sorted(numbered(30))
