"""`partition_by`: several sends at once, and the order of each key is kept."""

import json
from collections import defaultdict

from delivery_kit import HANG, Place, World

from forebay.buffer import Outcome, Selection
from forebay.sinks import Batch, Rejected, Retry, TooLarge


def keyed(count: int, *, keys: int = 5, start: int = 0) -> list[bytes]:
    return [b'{"k":%d,"n":%d}' % (n % keys, n) for n in range(start, start + count)]


async def lanes(world: World, **changes: object) -> Place:
    return await world.add(
        partition_by="k", max_in_flight=8, batch={"linger": 0, "max_events": 20}, **changes
    )


def in_order(place: Place) -> bool:
    found = defaultdict(list)
    for event in map(json.loads, place.stored):
        found[event["k"]].append(event["n"])
    return all(numbers == sorted(numbers) for numbers in found.values())


def has_key(batch: Batch, key: int) -> bool:
    return any(json.loads(event)["k"] == key for event in batch.events)


async def test_lanes_go_side_by_side_and_keep_the_order_of_each_key(world: World):
    place = await lanes(world)
    place.policy = lambda _: HANG
    await world.post(*keyed(50))
    while world.state().lag:
        await world.idle()
        place.release()
    assert sorted(place.stored) == sorted(keyed(50))
    assert in_order(place)
    assert place.most_under_way > 1
    assert world.state().delivered == 50
    assert world.state().cursor.done == ()
    world.check_accounts()


async def test_a_trouble_in_one_lane_keeps_its_order_and_repeats_no_other(world: World):
    place = await lanes(world, retry={"base": 1})
    troubles = 0

    def policy(batch: Batch) -> Exception | None:
        nonlocal troubles
        if has_key(batch, 3) and troubles < 5:
            troubles += 1
            return Retry("HTTP 503", ambiguous=True)
        return TooLarge("HTTP 413") if len(batch) > 3 else None

    place.policy = policy
    await world.post(*keyed(60))
    await world.drained()
    assert sorted(place.stored) == sorted(keyed(60))
    assert in_order(place)
    assert world.state().possible_duplicate > 0
    world.check_accounts()


async def test_poison_in_lanes_costs_only_itself(world: World):
    place = await lanes(world)
    poison = {keyed(60)[n] for n in (0, 5, 17, 40, 41, 42, 43, 44)}

    def policy(batch: Batch) -> Exception | None:
        rows = [row for row, event in enumerate(batch.events) if event in poison]
        if not rows:
            return None
        return Rejected("HTTP 400", rows=rows if len(batch) % 2 else None)

    place.policy = policy
    await world.post(*keyed(60))
    await world.drained()
    assert sorted(place.stored) == sorted(set(keyed(60)) - poison)
    assert in_order(place)
    letters = await world.store.dead_letters(Selection(), 100)
    assert sorted(letter.event for letter in letters) == sorted(poison)
    assert world.state().cursor.done == ()
    assert world.store.ledger.first_seq == world.store.ledger.next_seq
    world.check_accounts()


async def test_a_lane_whose_events_expired_does_not_keep_the_others_from_being_settled(
    world: World,
):
    place = await lanes(world)

    def policy(batch: Batch) -> Exception | None:
        last = json.loads(batch.events[-1])
        if last["k"] == 4:
            return Rejected("HTTP 400") if len(batch) > 1 else Retry("HTTP 503", after=3600)
        return None

    place.policy = policy
    await world.post(*keyed(20))
    await world.idle()
    assert place.stored
    sending = place.sent[-1]
    assert len(sending.events) == 1
    seq = int(sending.id.rsplit("-", 1)[1])
    world.store.settle("s", seq, 20, {Outcome.EXPIRED: 21 - seq})
    place.policy = lambda _: None
    await world.drained()
    assert world.pipelines["s"].status().in_flight == 0
    world.check_accounts()


async def test_a_crash_brings_the_same_lanes_again(world: World):
    place = await lanes(world)
    turn = 0

    def policy(_: Batch) -> str | None:
        nonlocal turn
        turn += 1
        return HANG if turn % 2 else None

    place.policy = policy
    await world.post(*keyed(20))
    await world.idle()
    assert 0 < len(place.stored) < 20
    before = {(sent.id, sent.events) for sent in place.sent}
    place.policy = lambda _: None
    await world.post(*keyed(20, start=20))
    await world.reopen()
    await world.drained()
    assert set(place.stored) == set(keyed(40))
    assert before <= {(sent.id, sent.events) for sent in place.sent[len(before) :]}
    world.check_accounts()


async def test_draining_ends_with_all_lanes(world: World):
    place = await lanes(world)
    place.policy = lambda _: HANG
    await world.post(*keyed(60))
    await world.idle()
    world.pipelines["s"].drain()
    await world.idle()
    assert not world.sinks["s"].task.done()
    place.release()
    await world.idle()
    assert world.sinks["s"].task.done()
    await world.reopen()
    place.policy = lambda _: None
    await world.drained()
    assert sorted(place.stored) == sorted(keyed(60)), "nothing twice"
