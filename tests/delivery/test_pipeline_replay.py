"""Dead letters that a person puts back in line."""

from delivery_kit import HANG, World, numbered

from forebay.buffer import DeadLetter, Selection
from forebay.sinks import Rejected, Retry, TooLarge

ALL = Selection(sink="s")


async def buried(world: World, count: int, **changes: object) -> None:
    """`count` dead letters of the sink `s`, beside a sink that took everything."""
    other = await world.add("other", batch={"linger": 0})
    place = await world.add("s", **{"batch": {"linger": 0}, **changes})
    place.policy = lambda batch: Rejected("HTTP 400", rows=range(len(batch)))
    await world.post(*numbered(count))
    await world.drained("s")
    await world.drained("other")
    assert world.state("s").dead_letters == count
    place.policy = lambda _: None
    place.sent.clear()
    other.sent.clear()


async def letters(world: World) -> list[DeadLetter]:
    return await world.store.dead_letters(Selection(), 5000)


async def test_replayed_letters_go_to_their_own_sink_alone_and_are_gone(world: World):
    await buried(world, 5)
    assert await world.store.replay(ALL) == 5
    await world.drained("s")
    assert world.sinks["s"].place.stored == numbered(5)
    assert world.sinks["other"].place.sent == []
    assert await letters(world) == []
    state = world.state("s")
    assert (state.replayed, state.delivered, state.dead_letters) == (5, 5, 0)
    world.check_accounts()


async def test_refused_again_each_is_one_dead_letter_again(world: World):
    await buried(world, 3)
    place = world.sinks["s"].place
    place.policy = lambda batch: (
        Rejected("HTTP 422: still bad") if b'{"n":1}' in batch.events else None
    )
    await world.store.replay(ALL)
    await world.drained("s")
    assert place.stored == [b'{"n":0}', b'{"n":2}']
    [letter] = await letters(world)
    assert (letter.event, letter.error, letter.attempts) == (b'{"n":1}', "HTTP 422: still bad", 2)
    place.policy = lambda _: None
    await world.store.replay(ALL)
    await world.drained("s")
    assert await letters(world) == []
    assert place.stored[-1] == b'{"n":1}'
    world.check_accounts()


async def test_rows_that_are_named_in_a_replay_come_back_alone(world: World):
    await buried(world, 4)
    place = world.sinks["s"].place
    place.answers(Rejected("HTTP 422", rows=[0, 2]))
    await world.store.replay(ALL)
    await world.drained("s")
    assert place.stored == [b'{"n":1}', b'{"n":3}']
    assert [letter.event for letter in await letters(world)] == [b'{"n":0}', b'{"n":2}']
    world.check_accounts()


async def test_a_replay_goes_on_after_a_trouble(world: World):
    await buried(world, 4, retry={"base": 1})
    place = world.sinks["s"].place
    place.answers(Retry("HTTP 503", ambiguous=True), TooLarge("HTTP 413"), Retry("HTTP 503"))
    await world.store.replay(ALL)
    await world.drained("s")
    assert place.stored == numbered(4)
    assert place.sent[0].id == place.sent[1].id
    assert "/replay-" in place.sent[0].id
    assert world.state("s").possible_duplicate == 4, "sent again after an answer that never came"
    world.check_accounts()


async def test_a_replay_survives_a_restart_in_the_middle(world: World):
    await buried(world, 4)
    place = world.sinks["s"].place
    place.answers(HANG)
    await world.store.replay(ALL)
    await world.idle()
    assert place.hanging == 1
    await world.reopen()
    place = world.sinks["s"].place
    await world.drained("s")
    assert place.stored == numbered(4)
    assert place.sent[0] == place.sent[1], "the same batch, with the same id"
    assert await letters(world) == []
    world.check_accounts()


async def test_many_letters_go_in_batches_that_the_sink_takes(world: World):
    await buried(world, 2500, batch={"linger": 0, "max_events": 400, "max_bytes": 4000})
    place = world.sinks["s"].place
    await world.store.replay(ALL)
    await world.drained("s")
    assert sorted(place.stored) == sorted(numbered(2500))
    assert max(len(sent.events) for sent in place.sent) <= 400
    assert max(len(b"\n".join(sent.events)) for sent in place.sent) <= 4000
    world.check_accounts()


async def test_new_events_go_on_beside_a_replay(world: World):
    await buried(world, 3)
    place = world.sinks["s"].place
    place.answers(HANG)
    await world.store.replay(ALL)
    await world.idle()
    await world.post(b'{"new":1}')
    await world.idle()
    place.release()
    await world.drained("s")
    assert sorted(place.stored) == sorted([*numbered(3), b'{"new":1}'])
    await world.drained("other")
    world.check_accounts()
