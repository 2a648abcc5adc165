"""When the sink says: not now. Waiting, probing, holding, and sending the same again."""

import asyncio
from datetime import UTC, datetime

import pytest
from delivery_kit import HANG, World, in_turn, numbered

from forebay.buffer import Outcome, Selection
from forebay.sinks import Answer, Batch, Hold, Limits, Quota, Rejected, Retry, TooLarge, Unit

AT_ONCE = {"linger": 0}
SLOW_DOWN = Retry("HTTP 429", after=3600, throttled=True, status=429)


async def test_a_sink_that_asks_for_an_hour_gets_an_hour(world: World):
    place = await world.add(batch=AT_ONCE)
    place.answers(SLOW_DOWN)
    await world.post(b"{}")
    await world.idle()
    status = world.pipelines["s"].status()
    assert (status.state, status.retry_at) == ("throttled", world.clock.wall() + 3600)
    await world.drained()
    assert place.gaps == [3600]
    assert world.metric("sink_throttled_seconds_total") == 3600
    assert world.metric("sink_batches_total", outcome="retried") == 1


async def test_retry_after_zero_does_not_hammer_the_sink(world: World):
    place = await world.add(batch=AT_ONCE, retry={"base": 1, "cap": 8})
    place.answers(*[Retry("HTTP 429", after=0, throttled=True)] * 6)
    await world.post(b"{}")
    await world.drained()
    assert place.gaps == [0.5, 1, 2, 4, 4, 4]


async def test_without_a_time_it_backs_off_with_full_jitter(world: World):
    shares = (0.5, 0.25, 1.0, 0.0)
    world.around = type(world.around)(world.store, world.clock, world.metrics, in_turn(*shares))
    place = await world.add(batch=AT_ONCE, retry={"base": 1, "cap": 60}, breaker={"failures": 9})
    place.answers(*[Retry("no")] * 4)
    await world.post(b"{}")
    await world.drained()
    assert place.gaps == [0.5 * 1, 0.25 * 2, 1.0 * 4, 0]


async def test_the_breaker_lets_one_probe_through_each_time_and_doubles(world: World):
    place = await world.add(
        batch={"linger": 0, "max_events": 1},
        retry={"base": 1, "cap": 1},
        breaker={"failures": 3, "open_for": 30, "open_cap": 200},
    )
    place.policy = lambda _: Retry("HTTP 500", status=500)
    await world.post(*numbered(10))
    await world.until(lambda: len(place.sent) == 8)
    assert place.gaps == [0.5, 0.5, 30, 60, 120, 200, 200]
    assert len({sent.id for sent in place.sent}) == 1, "the order is strict"
    status = world.pipelines["s"].status()
    assert (status.state, status.breaker) == ("open", "open")
    assert status.retry_at == world.clock.wall() + 200
    assert status.last_error == {
        "at": datetime.fromtimestamp(world.clock.wall(), UTC).isoformat(timespec="milliseconds"),
        "status": 500,
        "message": "HTTP 500",
    }
    assert world.metric("sink_breaker_opened_total") == 1
    assert world.metric("sink_breaker_state", state="open") == 1
    place.policy = lambda _: None
    await world.drained()
    assert place.gaps[7:] == [200, *[0.0] * 9]
    assert place.stored == numbered(10)
    assert world.metric("sink_breaker_state", state="closed") == 1


async def test_throttling_never_opens_the_breaker(world: World):
    place = await world.add(batch=AT_ONCE, breaker={"failures": 1})
    place.answers(*[Retry("HTTP 429", after=1, throttled=True)] * 20)
    await world.post(b"{}")
    await world.drained()
    assert place.gaps == [1.0] * 20
    assert world.metric("sink_breaker_opened_total") == 0


async def test_concurrent_sends_share_one_breaker_and_one_probe(world: World):
    place = await world.add(
        order="none", max_in_flight=8, batch={"linger": 0, "max_events": 1},
        retry={"base": 1, "cap": 1}, breaker={"failures": 2, "open_for": 30, "open_cap": 30},
    )  # fmt: skip
    place.policy = lambda _: HANG
    await world.post(*numbered(60))
    while len(place.stored) < 30:
        await world.idle()
        place.release()
    place.policy = lambda _: Retry("HTTP 503")
    await world.idle()
    place.release()
    await world.idle()
    failed = len(place.sent)
    assert world.pipelines["s"].status().state in {"retrying", "open"}
    await world.run(200)
    assert 5 <= len(place.sent) - failed <= 8, "one probe each 30 s, however many wait"
    place.policy = lambda _: None
    await world.drained()
    assert sorted(place.stored) == sorted(numbered(60))
    world.check_accounts()


async def test_a_hold_keeps_everything_and_probes_slowly(world: World):
    place = await world.add(batch=AT_ONCE, breaker={"open_for": 30, "open_cap": 100})
    place.policy = lambda _: Hold("HTTP 404: no such dataset", status=404)
    for number in range(5):
        await world.post(b'{"n":%d}' % number)
    await world.until(lambda: len(place.sent) == 5)
    assert place.gaps == [30, 60, 100, 100]
    status = world.pipelines["s"].status()
    assert (status.state, status.breaker, status.retry_at) == (
        "held", "closed", world.clock.wall() + 100,
    )  # fmt: skip
    assert status.last_error is not None
    assert status.last_error["message"] == "HTTP 404: no such dataset"
    assert (world.state().lag, world.state().dead_letters) == (5, 0)
    place.policy = lambda _: None
    await world.drained()
    assert place.stored == numbered(5)
    assert world.pipelines["s"].status().state == "idle"


@pytest.mark.parametrize("answer", [Hold("no"), SLOW_DOWN, Retry("no")])
async def test_a_person_who_mended_it_need_not_wait(world: World, answer: Answer):
    place = await world.add(batch=AT_ONCE, breaker={"failures": 1})
    place.answers(answer, answer)
    await world.post(*numbered(3))
    await world.idle()
    world.pipelines["s"].probe()
    await world.idle()
    assert len(place.sent) == 2, "the probe failed: it waits again"
    world.pipelines["s"].probe()
    await world.idle()
    assert len(place.sent) == 3
    assert place.gaps == [0, 0]
    assert place.stored == numbered(3)
    assert not world.state().lag


async def test_after_so_many_attempts_a_batch_goes_to_the_dead_letters(world: World):
    place = await world.add(
        batch=AT_ONCE, retry={"base": 1, "max_attempts": 3}, breaker={"failures": 99}
    )
    place.answers(*[Retry("HTTP 500: broken", status=500)] * 3)
    await world.post(*numbered(2))
    await world.drained()
    letters = await world.store.dead_letters(Selection(), 10)
    assert [(x.event, x.attempts, x.error, x.status) for x in letters] == [
        (event, 3, "HTTP 500: broken", 500) for event in numbered(2)
    ]
    assert len(place.sent) == 3
    await world.post(b"{}")
    await world.drained()
    assert place.stored == [b"{}"]
    world.check_accounts()


async def test_throttling_and_holds_do_not_use_up_the_attempts(world: World):
    """Nobody failed: or a sink that was held for a day would lose its batch to the first 503."""
    place = await world.add(
        batch=AT_ONCE, retry={"base": 1, "max_attempts": 2}, breaker={"failures": 99}
    )
    place.answers(*[SLOW_DOWN] * 3, *[Hold("no")] * 3, Retry("HTTP 503"))
    await world.post(b"{}")
    await world.drained()
    assert place.stored == [b"{}"]
    assert world.state().dead_lettered == 0


async def test_an_answer_that_never_came_repeats_the_very_same_batch(world: World):
    place = await world.add(batch={"linger": 0, "max_events": 4}, retry={"base": 1})
    place.answers(*[Retry("reset", ambiguous=True)] * 2, Retry("HTTP 503, sure"))
    await world.post(*numbered(3))
    await world.idle()
    await world.post(*numbered(5, start=3))
    await world.drained()
    first = place.sent[:4]
    assert {sent.id for sent in first} == {f"{world.store.ledger.instance}/s/1-3"}
    assert {sent.events for sent in first} == {tuple(numbered(3))}
    assert place.stored == numbered(8)
    assert world.state().possible_duplicate == 2 * 3
    world.check_accounts()


async def test_a_send_that_takes_too_long_is_ambiguous(world: World):
    place = await world.add(batch=AT_ONCE, timeout=1e-6, retry={"base": 1})
    place.answers(HANG)
    await world.post(b"{}")
    await world.until(lambda: len(place.sent) == 2)
    await world.drained()
    assert place.stored == [b"{}"]
    assert world.state().possible_duplicate == 1
    error = world.pipelines["s"].status().last_error
    assert error is not None
    assert "no answer within" in error["message"]


@pytest.mark.parametrize(
    "fault",
    [RuntimeError("secret text"), asyncio.CancelledError(), OSError(5, "eh"), Answer("which?")],
    ids=repr,
)
async def test_a_fault_in_a_sink_is_contained_and_the_batch_sent_again(
    world: World, fault: BaseException
):
    """Also a cancellation that nobody asked for, which a task group would take for a normal end."""
    place, other = await world.add(batch=AT_ONCE, retry={"base": 1}), await world.add("other")
    place.answers(fault)
    await world.post(*numbered(3))
    await world.drained()
    await world.drained("other")
    assert place.stored == other.stored == numbered(3)
    assert len(place.sent) == 2
    assert (place.opened, place.closed) == (1, 0), "the pipeline went on"
    error = world.pipelines["s"].status().last_error
    assert error is not None
    assert "secret" not in error["message"]


@pytest.mark.parametrize("rows", [[7], [-1], [1, 1000], []])
async def test_rows_that_are_not_in_the_batch_do_not_stop_the_sink(world: World, rows: list[int]):
    place = await world.add(batch=AT_ONCE)

    def policy(batch: Batch) -> Exception | None:
        bad = b'{"n":1}' in batch.events
        return (
            Rejected("HTTP 400", rows=rows)
            if bad and len(batch) != 1
            else (Rejected("HTTP 400") if bad else None)
        )

    place.policy = policy
    await world.post(*numbered(4))
    await world.drained()
    assert place.stored == [b'{"n":0}', b'{"n":2}', b'{"n":3}']
    assert world.state().dead_lettered == 1
    assert place.opened == 1


async def test_four_days_of_503_lose_nothing_and_end_without_a_herd(world: World):
    """Failure mode 8. Attempts are bounded by the breaker's schedule."""
    place = await world.add(batch={"max_events": 10, "linger": 0})
    place.policy = lambda _: Retry("HTTP 503", status=503, ambiguous=True)
    await world.post(*numbered(35))
    days = 4 * 86400
    await world.run(days, after=world.check_accounts)
    probes = 5 + 4 + days // 600
    assert probes - 10 <= len(place.sent) <= probes + 1
    assert (world.state().lag, world.state().delivered, world.state().dead_lettered) == (35, 0, 0)
    assert world.pipelines["s"].status().state == "open"

    before, place.policy = len(place.sent), lambda _: HANG
    await world.until(lambda: place.hanging == 1)
    await world.run(29)
    assert len(place.sent) == before + 1, "one probe, and nothing beside it"
    place.policy = lambda _: None
    place.release()
    await world.drained()
    assert place.stored == numbered(35)
    assert len(place.sent) == before + 4
    assert set(place.gaps[before + 1 :]) == {0.0}, "then it flows as before"
    world.check_accounts()


async def test_quotas_are_kept_however_fast_events_come(world: World):
    place = await world.add(
        batch={"max_events": 10, "linger": 0},
        limits=Limits(
            quotas=(
                Quota("posts", Unit.REQUESTS, 3, 60.0),
                Quota("rows", Unit.EVENTS, 50, 3600.0),
            )
        ),
    )
    await world.post(*numbered(120))
    await world.idle()
    assert len(place.sent) == 3
    assert world.pipelines["s"].status().state == "throttled"
    await world.drained()
    for index, start in enumerate(place.times):
        later = list(zip(place.times[index:], place.sent[index:], strict=True))
        assert sum(at < start + 60 for at, _ in later) <= 3
        assert sum(len(sent.events) for at, sent in later if at < start + 3600) <= 50
    assert place.stored == numbered(120)
    assert place.times[-1] - place.times[0] < 2 * 3660 + 60, "and not kept back for longer"


async def test_one_event_that_is_too_large_does_not_make_all_batches_small(world: World):
    place = await world.add(batch={"linger": 0, "max_events": 64})
    huge = b'{"huge":1}'
    place.policy = lambda batch: TooLarge("HTTP 413") if huge in batch.events else None
    events = numbered(64)
    events[40] = huge
    await world.post(*events)
    await world.drained()
    assert place.stored == [event for event in events if event != huge]
    assert world.state().dead_lettered == 1
    before = len(place.sent)
    await world.post(*numbered(64, start=100))
    await world.drained()
    assert len(place.sent) - before <= 2, "only as small as what was seen to pass"
    for _ in range(70):
        await world.post(*numbered(64))
        await world.drained()
    before = len(place.sent)
    await world.post(*numbered(64))
    await world.drained()
    assert len(place.sent) - before == 1, "in time it tries more again"


async def test_too_large_halves_and_remembers(world: World):
    place = await world.add(batch={"linger": 0, "max_events": 64})
    place.policy = lambda batch: TooLarge("HTTP 413") if len(batch) > 20 else None
    await world.post(*numbered(64))
    await world.drained()
    assert [len(sent.events) for sent in place.sent] == [64, 32, 16, 16, 32, 16, 16]
    await world.post(*numbered(48, start=64))
    await world.drained()
    assert [len(sent.events) for sent in place.sent[7:]] == [16, 16, 16]
    assert place.stored == numbered(112)
    assert world.state().dead_lettered == 0


@pytest.mark.parametrize("answer", [Hold("no"), SLOW_DOWN, Retry("no")], ids=repr)
async def test_a_batch_that_expired_while_it_waited_does_not_leave_the_gate_shut(
    world: World, answer: Answer
):
    place = await world.add(batch={"linger": 0, "max_events": 2}, breaker={"failures": 1})
    place.answers(answer)
    await world.post(*numbered(4))
    await world.idle()
    world.store.settle("s", 1, 2, {Outcome.EXPIRED: 2})
    await world.drained()
    assert place.stored == numbered(2, start=2)
    assert len(place.sent) == 2
    assert world.pipelines["s"].status().state == "idle"
    world.check_accounts()
