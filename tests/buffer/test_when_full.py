"""When the log is full, or events too old: what goes is what the operator chose, and is counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta

import pytest
from buffer_kit import WallClock, block, drain, line, numbered, opened, rows

from forebay.buffer import (
    BufferFull,
    BufferOptions,
    CommitStats,
    DeadLetter,
    Outcome,
    Receipt,
    Store,
    WhenFull,
)
from forebay.buffer.database import PAGE_SIZE, open_writer
from forebay.buffer.dedup import Dedup
from forebay.buffer.maintenance import Maintenance
from forebay.buffer.transaction import load

MIB = 1024 * 1024
DROPPED, EXPIRED = Outcome.DROPPED, Outcome.EXPIRED
Losses = list[dict[tuple[str, Outcome], int]]


def limited(options: BufferOptions, policy: WhenFull, **changes: object) -> BufferOptions:
    return options.model_copy(update={"max_bytes": MIB, "when_full": policy, **changes})


@asynccontextmanager
async def watched(options: BufferOptions, **extra: object) -> AsyncIterator[tuple[Store, Losses]]:
    """A store, and what each of its commits lost."""
    losses: Losses = []

    def observe(commit: CommitStats) -> None:
        if commit.lost:
            losses.append(dict(commit.lost))

    async with opened(options, observe=observe, **extra) as store:
        yield store, losses
        accounts(store)


def accounts(store: Store) -> None:
    for name, sink in store.ledger.sinks.items():
        done = sink.delivered + sink.dead_lettered + sink.dropped + sink.expired + sink.quarantined
        assert sink.routed + sink.replayed == done + sink.lag, name
        assert sink.lag >= 0


async def subscribed(store: Store, *sinks: str) -> None:
    for sink in sinks:
        await store.subscribe(sink, ("*",), start_now=False)


def deliver(store: Store, sink: str, first: int, last: int) -> None:
    store.settle(sink, first, last, {Outcome.DELIVERED: last - first + 1})


def lost(losses: Losses, sink: str, outcome: Outcome) -> int:
    return sum(one.get((sink, outcome), 0) for one in losses)


# ── reject ───────────────────────────────────────────────────────────────────────────────────────


async def test_reject_loses_nothing_that_was_stored(options: BufferOptions) -> None:
    async with watched(limited(options, WhenFull.REJECT)) as (store, losses):
        await subscribed(store, "a")
        given = [store.append(block(number)) for number in range(40)]
        answers = await asyncio.gather(*given, return_exceptions=True)
        stored = [answer for answer in answers if isinstance(answer, Receipt)]
        assert 5 < len(stored) < 40
        assert all(isinstance(one, BufferFull) for one in answers if one not in stored)
        assert (store.sink("a").routed, store.sink("a").lag) == (len(stored), len(stored))
        assert losses == []


# ── drop_newest ──────────────────────────────────────────────────────────────────────────────────


async def test_drop_newest_is_counted_for_the_sinks_that_would_have_taken_it(
    options: BufferOptions,
) -> None:
    async with watched(limited(options, WhenFull.DROP_NEWEST)) as (store, losses):
        await subscribed(store, "a")
        await store.subscribe("other", ("other",), start_now=False)
        answers = await asyncio.gather(*(store.append(block(number)) for number in range(40)))
        accepted = sum(answer.accepted for answer in answers)
        assert [answer.accepted + answer.dropped for answer in answers] == [1] * 40
        assert all(answer.first_seq is None for answer in answers if answer.dropped)
        sink = store.sink("a")
        assert (sink.routed, sink.dropped, sink.lag) == (40, 40 - accepted, accepted)
        assert store.sink("other").routed == 0
        assert lost(losses, "a", DROPPED) == sink.dropped
        assert {name for one in losses for name, _ in one} == {"a"}


async def test_what_was_dropped_takes_no_seq_and_the_next_one_is_taken_once_there_is_room(
    options: BufferOptions,
) -> None:
    async with watched(limited(options, WhenFull.DROP_NEWEST)) as (store, _):
        await subscribed(store, "a")
        number = 0
        while (await store.append(block(number))).accepted:
            number += 1
        deliver(store, "a", 1, number)
        await store.tidy()
        assert (await store.append(block(0))).first_seq == number + 1
        assert len(await drain(store, "a")) == 1


# ── drop_oldest ──────────────────────────────────────────────────────────────────────────────────


async def test_drop_oldest_counts_for_each_sink_that_still_waited_and_no_other(
    options: BufferOptions,
) -> None:
    async with watched(limited(options, WhenFull.DROP_OLDEST)) as (store, losses):
        await subscribed(store, "slow", "quick", "half")
        await store.subscribe("rare", ("rare",), start_now=False)
        for number in range(1, 61):
            assert (await store.append(block(number))).accepted == 1
            deliver(store, "quick", number, number)
            if number % 2:
                deliver(store, "half", number, number)
            await store.flush()
        left = await drain(store, "slow")
        gone = 60 - len(left)
        assert [event.seq for event in left] == list(range(gone + 1, 61))
        assert store.sink("slow").dropped == gone
        assert store.sink("half").dropped == gone // 2
        assert [store.sink(name).dropped for name in ("quick", "rare")] == [0, 0]
        for name in ("slow", "half"):
            assert lost(losses, name, DROPPED) == store.sink(name).dropped
        assert store.ledger.used_bytes <= MIB


async def test_what_was_dropped_in_flight_is_counted_once(options: BufferOptions) -> None:
    """A batch is out while its first events are dropped; then its answer comes."""
    async with watched(limited(options, WhenFull.DROP_OLDEST)) as (store, _):
        await subscribed(store, "a")
        for number in range(5):
            await store.append(block(number))
        number = 5
        while store.sink("a").dropped < 3:
            await store.append(block(number := number + 1))
        dropped = store.sink("a").dropped
        deliver(store, "a", 1, 5)
        await store.flush()
        assert store.sink("a").delivered == 5 - dropped
        accounts(store)
        # One that is gone altogether counts for nothing any more.
        deliver(store, "a", 1, 2)
        await store.flush()
        assert store.sink("a").delivered == 5 - dropped


async def test_an_entry_that_can_never_fit_drops_nothing(options: BufferOptions) -> None:
    async with watched(limited(options, WhenFull.DROP_OLDEST)) as (store, losses):
        await subscribed(store, "a")
        for number in range(3):
            await store.append(block(number))
        with pytest.raises(BufferFull, match=r"max_bytes"):
            await store.append(block(9, 4 * MIB))
        assert losses == []
        assert (store.sink("a").lag, len(await drain(store, "a"))) == (3, 3)


async def test_many_small_segments_make_room_for_large_ones(options: BufferOptions) -> None:
    """A small segment shares its page with others: deleting it frees next to nothing."""
    async with watched(limited(options, WhenFull.DROP_OLDEST)) as (store, losses):
        await subscribed(store, "a")
        while store.sink("a").dropped == 0:
            for number in range(100):
                store.append(numbered(f"s{number}", 1))
            await store.flush()
        for number in range(12):
            assert (await store.append(block(number, 1_600_000))).accepted == 1
            assert store.ledger.used_bytes <= MIB + 16 * PAGE_SIZE
        sink = store.sink("a")
        assert sink.lag == len(await drain(store, "a")) == 1
        assert lost(losses, "a", DROPPED) == sink.dropped == sink.routed - 1


# ── max_age ──────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_too_old_expires_for_those_that_still_waited(options: BufferOptions) -> None:
    aged = options.model_copy(update={"max_age": timedelta(hours=1)})
    clock = WallClock()
    async with watched(aged, wall=clock) as (store, losses):
        await subscribed(store, "slow", "quick")
        await store.append(numbered("s", 3))
        deliver(store, "quick", 1, 3)
        clock.now += 3000
        await store.append(numbered("s", 4, start=3))
        await store.tidy()
        assert losses == []
        clock.now += 1000
        await store.tidy()
        assert losses == [{("slow", EXPIRED): 3}]
        assert (store.sink("slow").expired, store.sink("quick").expired) == (3, 0)
        assert [event.seq for event in await drain(store, "slow")] == [4, 5, 6, 7]
        clock.now += 3000
        await store.tidy()
        assert (store.sink("slow").expired, store.sink("quick").expired) == (7, 4)
        assert rows(aged.path, "SELECT * FROM segments") == []
        assert store.ledger.oldest_at == 0


async def test_what_expired_while_the_log_was_closed_is_counted(options: BufferOptions) -> None:
    aged = options.model_copy(update={"max_age": timedelta(hours=1)})
    clock = WallClock()
    async with watched(aged, wall=clock) as (store, _):
        await subscribed(store, "a")
        await store.append(numbered("s", 3))
    clock.now += 4000
    async with watched(aged, wall=clock) as (store, losses):
        await store.tidy()
        assert losses == [{("a", EXPIRED): 3}]
        assert store.sink("a").lag == 0


async def test_a_clock_that_steps_back_expires_nothing(options: BufferOptions) -> None:
    aged = options.model_copy(update={"max_age": timedelta(hours=1)})
    clock = WallClock()
    async with watched(aged, wall=clock) as (store, losses):
        await subscribed(store, "a")
        await store.append(numbered("s", 3))
        clock.now -= 7200
        await store.append(numbered("s", 3))
        await store.tidy()
        assert losses == []


# ── dead letters in a full log ───────────────────────────────────────────────────────────────────


def letter(seq: int, event: bytes) -> DeadLetter:
    return DeadLetter("a", "s", seq, 1.0, float(seq), 1, 400, "no", event)


@pytest.mark.parametrize("policy", WhenFull)
@pytest.mark.parametrize("size", [1000, 100_000])
async def test_a_full_log_of_poison_is_buried_and_goes_on(
    options: BufferOptions, policy: WhenFull, size: int
) -> None:
    """Each round fills the log and buries all of it: nobody purges the letters, and none wedges."""
    async with watched(limited(options, policy)) as (store, _):
        await subscribed(store, "a")
        for _ in range(4):
            await fill(store, size)
            poison = await drain(store, "a")
            assert poison, "the log has no room for events any more"
            for event in poison:
                settled = {Outcome.DEAD_LETTERED: 1}
                store.settle("a", event.seq, event.seq, settled, [letter(event.seq, event.data)])
            await store.tidy()
            assert store.fault is None
            sink = store.sink("a")
            assert sink.lag == 0
            assert sink.dead_letters + sink.discarded == sink.dead_lettered
            assert sink.dead_letter_bytes <= MIB // 2
            accounts(store)
        assert store.sink("a").discarded > 0
        assert (await store.append(numbered("s", 1))).accepted == 1


async def fill(store: Store, size: int) -> None:
    """Until something is refused or dropped."""
    before = store.sink("a").dropped
    for number in range(10_000):
        events = numbered("s", max(100_000 // size, 1), start=number * 1000, pad=size)
        try:
            await store.append(events)
        except BufferFull:
            return
        if store.sink("a").dropped > before:
            return
    raise AssertionError("it never filled up")


async def test_dead_letters_leave_half_of_the_log_to_events(options: BufferOptions) -> None:
    full = limited(options, WhenFull.REJECT, dead_letters_max_bytes=1 << 40)
    async with watched(full) as (store, _):
        await subscribed(store, "a")
        for number in range(1, 31):
            await store.append(numbered("s", 1, start=number))
            event = line(number, 60_000)
            store.settle("a", number, number, {Outcome.DEAD_LETTERED: 1}, [letter(number, event)])
            await store.tidy()
        assert 400_000 < store.sink("a").dead_letter_bytes <= MIB // 2
        assert store.ledger.used_bytes < 0.7 * MIB
        assert (await store.append(block(1, 600_000))).accepted == 1


async def test_letters_over_their_share_go_before_what_is_done_with_is_trimmed(
    options: BufferOptions,
) -> None:
    """Under load there is something to trim all the time."""
    async with opened(options) as store:
        await subscribed(store, "a")
        await store.append(numbered("s", 10))
        letters = [letter(seq, b"x" * 100) for seq in range(1, 6)]
        store.settle("a", 1, 5, {Outcome.DEAD_LETTERED: 5}, letters)
        await store.append(numbered("s", 10))
    small = options.model_copy(update={"dead_letters_max_bytes": 250})
    with closing(open_writer(small)) as database:
        ledger = load(database)
        maintenance = Maintenance(small, Dedup(0, small.max_bytes))
        done = maintenance.bite(database, ledger, 0.0, idle=False)
        assert done is not None
        assert [sink.discarded for sink in done.sinks().values()] == [3]


async def test_what_took_the_place_of_all_others_has_an_age(options: BufferOptions) -> None:
    async with opened(limited(options, WhenFull.DROP_OLDEST)) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(block(1, 400_000))
        await store.append(block(2, 1_800_000))
        assert store.sink("all").dropped == 1
        assert store.ledger.oldest_at > 0
