"""partition_by: a key's events keep their order while several requests are in flight."""

import asyncio
import json
from collections import Counter, defaultdict

import pytest
from delivery_kit import HANG, Place, World
from hypothesis import given
from hypothesis import strategies as st

from forebay.daemon.delivery.lanes import Lanes
from forebay.daemon.delivery.work import Work
from forebay.sinks import Batch, Part, Rejected, Retry


def work(keys: list[object], path: str = "k") -> Work:
    lines = [json.dumps({path: key, "n": n}).encode() for n, key in enumerate(keys)]
    part = Part("s", 1, len(lines), 0.0, b"\n".join(lines))
    return Work(Batch("i/s", (part,)), 1, len(lines))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 8))
def test_every_event_is_in_one_lane_and_each_key_in_order_in_one(keys: list[int], most: int):
    lanes = Lanes("k", most).split(work(list(keys)))
    assert len(lanes) <= most
    seen: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, lane in enumerate(lanes):
        for event in lane.batch.events:
            found = json.loads(event)
            seen[found["k"]].append((number, found["n"]))
    for places in seen.values():
        assert len({lane for lane, _ in places}) == 1
        assert [n for _, n in places] == sorted(n for _, n in places)
    assert sum(len(places) for places in seen.values()) == len(keys)
    assert {id(lane.chunk) for lane in lanes} == {id(lanes[0].chunk)}


@pytest.mark.parametrize(
    ("event", "key"),
    [
        (b'{"a": {"b": 1.10}}', b"1.10"),
        (b'{"a": {"b": "x"}}', b'"x"'),
        (b'{"a": 3}', b""),
        (b'{"c": 3}', b""),
    ],
)
def test_the_key_is_the_fields_own_text(event: bytes, key: bytes):
    assert Lanes("a.b", 4).key(event) == key


def events(count: int) -> list[bytes]:
    return [b'{"k":%d,"n":%d}' % (number % 7, number) for number in range(count)]


def in_key_order(stored: list[bytes]) -> bool:
    by_key: dict[int, list[int]] = defaultdict(list)
    for event in map(json.loads, stored):
        by_key[event["k"]].append(event["n"])
    return all(numbers == sorted(numbers) for numbers in by_key.values())


async def hanging(world: World, place: Place, lanes: int) -> None:
    for _ in range(2000):
        if place.hanging == lanes:
            return
        await world.store.flush()
        await asyncio.sleep(0)
    raise AssertionError(f"{place.hanging} sends under way, not {lanes}")


async def test_lanes_are_in_flight_together_and_settled_when_all_are_done(world: World):
    place = await world.add(partition_by="k", batch={"linger": 0})
    place.answers(*[HANG] * 7)
    await world.post(*events(70))
    lanes = len(Lanes("k", 16).split(work(list(range(7)))))
    assert lanes > 1
    await hanging(world, place, lanes)
    assert world.state().delivered == 0
    place.script.clear()
    place.release()
    await world.drained()
    assert in_key_order(place.stored)
    assert sorted(place.stored) == sorted(events(70))
    assert world.state().delivered == 70
    world.check_accounts()


async def test_a_poison_row_in_a_lane_is_one_dead_letter_and_order_holds(world: World):
    place = await world.add(partition_by="k", batch={"linger": 0, "max_events": 50})
    poison = {events(200)[17], events(200)[118]}

    def policy(batch: Batch) -> Exception | None:
        return None if poison.isdisjoint(batch.events) else Rejected("no")

    place.policy = policy
    place.answers(Retry("not now", ambiguous=True), None, Retry("not now"))
    await world.post(*events(200))
    await world.drained()
    assert in_key_order(place.stored)
    assert sorted(place.stored) == sorted(set(events(200)) - poison)
    state = world.state()
    assert (state.delivered, state.dead_lettered) == (198, 2)
    assert state.possible_duplicate > 0
    world.check_accounts()


async def test_a_kill_between_two_lanes_repeats_only_that_batch(world: World):
    place = await world.add(partition_by="k", batch={"linger": 0, "max_events": 50})
    await world.post(*events(50))
    await world.drained()
    lanes = len(Lanes("k", 16).split(work(list(range(7)))))
    place.answers(None, *[HANG] * (lanes - 1))
    await world.post(*events(100)[50:])
    await hanging(world, place, lanes - 1)
    place.script.clear()
    await world.restart("s")
    await world.drained()
    counts = Counter(place.stored)
    assert set(counts) == set(events(100))
    assert all(counts[event] == 1 for event in events(50))
    world.check_accounts()
