"""Each dead letter tells why it is one, not why its neighbours are."""

from delivery_kit import World, numbered

from forebay.buffer import Selection
from forebay.sinks import Batch, Rejected


def own_reasons(batch: Batch) -> Exception | None:
    faults = {
        row: f"{event.decode()} is odd"
        for row, event in enumerate(batch.events)
        if event[-2] in b"13579"
    }
    return Rejected(f"{len(faults)} rows are odd", rows=faults) if faults else None


async def errors(world: World) -> dict[bytes, str]:
    return {x.event: x.error for x in await world.store.dead_letters(Selection(), 100)}


async def test_a_dead_letter_names_its_own_fault_and_not_the_first_of_its_batch(world: World):
    place = await world.add(batch={"linger": 0})
    place.policy = own_reasons
    await world.post(*numbered(10))
    await world.drained()
    assert len(place.sent) == 2
    odd = [event for event in numbered(10) if event[-2] in b"13579"]
    assert await errors(world) == {event: f"{event.decode()} is odd" for event in odd}
    world.check_accounts()


async def test_a_batch_of_nothing_but_bad_rows_keeps_their_reasons_apart(world: World):
    place = await world.add(batch={"linger": 0})
    place.policy = own_reasons
    await world.post(*(event for event in numbered(10) if event[-2] in b"13579"))
    await world.drained()
    assert len(place.sent) == 1
    assert sorted((await errors(world)).values()) == [
        f'{{"n":{n}}} is odd' for n in (1, 3, 5, 7, 9)
    ]
    world.check_accounts()


async def test_a_row_that_the_sink_gave_no_reason_for_has_that_of_the_batch(world: World):
    place = await world.add(batch={"linger": 0})
    place.answers(Rejected("HTTP 400: bad rows", rows=[0, 2], status=400))
    await world.post(*numbered(3))
    await world.drained()
    assert set((await errors(world)).values()) == {"HTTP 400: bad rows"}
