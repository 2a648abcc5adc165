"""When the sink will never take some of it: the bad rows are found, and cost nobody else."""

from collections.abc import Callable

import pytest
from delivery_kit import World, numbered

from forebay.buffer import DeadLetter, Selection
from forebay.sinks import Batch, Rejected, Retry

POISON = {b'{"n":0}', b'{"n":617}', b'{"n":618}'}


def unnamed(batch: Batch) -> Exception | None:
    if POISON.isdisjoint(batch.events):
        return None
    return Rejected("HTTP 400: not a number", status=400)


def named(batch: Batch) -> Exception | None:
    rows = [row for row, event in enumerate(batch.events) if event in POISON]
    return Rejected("HTTP 400: not a number", rows=rows, status=400) if rows else None


async def letters(world: World) -> list[DeadLetter]:
    return await world.store.dead_letters(Selection(), 5000)


@pytest.mark.parametrize(("policy", "sends"), [(unnamed, 3 * (2 * 10 + 1) + 10), (named, 2)])
async def test_three_poison_rows_in_a_thousand_cost_only_themselves(
    world: World, policy: Callable[[Batch], Exception | None], sends: int
):
    """Failure mode 7."""
    place = await world.add(batch={"linger": 0})
    place.policy = policy
    events = numbered(1000)
    await world.post(*events)
    await world.drained()
    assert place.stored == [event for event in events if event not in POISON], "in order, once"
    assert len(place.sent) <= sends
    found = await letters(world)
    assert {letter.event for letter in found} == POISON
    assert {(x.error, x.status, x.attempts) for x in found} == {("HTTP 400: not a number", 400, 1)}
    assert [x.seq for x in sorted(found, key=lambda x: x.seq)] == [1, 618, 619]
    state = world.state()
    assert (state.delivered, state.dead_lettered, state.dead_letters) == (997, 3, 3)
    assert world.store.ledger.first_seq == world.store.ledger.next_seq
    world.check_accounts()


async def test_bad_rows_do_not_count_for_the_breaker(world: World):
    place = await world.add(batch={"linger": 0}, breaker={"failures": 1})
    place.policy = unnamed
    await world.post(*numbered(1000))
    began = world.clock.now
    await world.drained()
    assert world.clock.now == began
    assert world.metric("sink_breaker_opened_total") == 0


async def test_a_trouble_in_the_middle_of_a_split_loses_and_repeats_nothing(world: World):
    place = await world.add(batch={"linger": 0}, retry={"base": 1})
    turn = 0

    def policy(batch: Batch) -> Exception | None:
        nonlocal turn
        turn += 1
        return Retry("HTTP 503") if turn % 3 == 0 else unnamed(batch)

    place.policy = policy
    await world.post(*numbered(1000))
    await world.drained()
    assert place.stored == [event for event in numbered(1000) if event not in POISON]
    assert {letter.event for letter in await letters(world)} == POISON
    world.check_accounts()


async def test_when_every_row_is_refused_the_cursor_still_passes_the_neighbours(world: World):
    """Or what lies between them is never trimmed, and the file grows for ever."""
    place = await world.add(streams=("a",), batch={"linger": 0, "max_events": 3})
    await world.add("other", streams=("b",))
    place.policy = lambda batch: Rejected("HTTP 400", rows=range(len(batch)))
    for number in range(4):
        await world.post(b"{}", b"{}", stream="b")
        await world.post(b'{"n":%d}' % number, stream="a")
        await world.post(b"{}", stream="b")
    await world.drained()
    assert world.state().dead_lettered == 4
    assert world.state().cursor.done == ()
    world.check_accounts()


async def test_pieces_of_a_batch_keep_their_attributes(world: World):
    place = await world.add(batch={"linger": 0})
    kinds: list[tuple[str | None, ...]] = []

    def policy(batch: Batch) -> Exception | None:
        kinds.append(
            tuple(
                extra and extra["id"]
                for part in batch.parts
                for extra in part.attributes or (None,) * part.count
            )
        )
        return unnamed(batch)

    place.policy = policy
    ids = tuple({"id": str(n)} if n % 2 == 0 else None for n in range(4))
    await world.post(*numbered(4), attributes=ids)
    await world.drained()
    assert kinds == [("0", None, "2", None), ("0", None), ("0",), (None,), ("2", None)]
    assert [letter.attributes for letter in await letters(world)] == [{"id": "0"}]


async def test_a_large_rejected_event_is_kept_whole(world: World):
    place = await world.add(batch={"linger": 0})
    place.policy = lambda _: Rejected("HTTP 400: " + "x" * 5000)
    event = b'{"text":"%s"}' % (b"y" * 500_000)
    await world.post(event)
    await world.drained()
    [letter] = await letters(world)
    assert letter.event == event
    assert len(letter.error) <= 1000
