"""Each event counts once for each sink, however often and in whatever order it is settled."""

import pytest
from buffer_kit import drain, numbered, opened

from forebay.buffer import BufferOptions, Damage, DeadLetter, Outcome, Selection, Store, WhenFull

D = Outcome.DELIVERED


def delivered(store: Store, first: int, last: int) -> None:
    store.settle("all", first, last, {D: last - first + 1})


async def test_settling_twice_counts_once(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 5))
        delivered(store, 1, 3)
        delivered(store, 1, 3)
        await store.flush()
        delivered(store, 1, 3)
        await store.flush()
        assert (store.sink("all").delivered, store.sink("all").lag) == (3, 2)


@pytest.mark.parametrize("stretch", [(1, 6), (3, 8), (4, 6), (1, 10), (6, 10)])
async def test_events_that_were_settled_otherwise_meanwhile_count_once(
    options: BufferOptions, stretch: tuple[int, int]
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 10))
        store.settle("all", 4, 6, {Outcome.EXPIRED: 3})
        await store.flush()
        first, last = stretch
        delivered(store, first, last)
        await store.flush()
        done = {4, 5, 6} | set(range(first, last + 1))
        sink = store.sink("all")
        assert (sink.expired, sink.delivered) == (3, len(done) - 3)
        assert sink.lag == 10 - len(done) == len(await drain(store, "all"))


async def test_an_overlap_with_foreign_streams_counts_only_the_sinks_own(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("s",), start_now=False)
        for stream in ("s", "foreign", "s", "foreign"):
            await store.append(numbered(stream, 3))
        store.settle("all", 1, 7, {D: 4})
        store.settle("all", 5, 12, {D: 3, Outcome.POSSIBLE_DUPLICATE: 3})
        await store.flush()
        sink = store.sink("all")
        assert (sink.delivered, sink.lag, sink.possible_duplicate) == (6, 0, 3)


async def test_a_batch_in_flight_while_its_segment_is_set_aside_counts_once(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 4))
        await store.append(numbered("s", 4))
        await store.append(numbered("s", 4))
        await store.quarantine(Damage(5, "another sink's reader found it"))
        letter = DeadLetter("all", "s", 1, 1.0, 2.0, 1, 400, "no", b"{}")
        store.settle("all", 1, 12, {D: 11, Outcome.DEAD_LETTERED: 1}, [letter])
        await store.flush()
        sink = store.sink("all")
        assert (sink.quarantined, sink.delivered, sink.dead_lettered, sink.lag) == (4, 7, 1, 0)
        assert len(await store.dead_letters(Selection(), 10)) == 1


async def test_a_batch_in_flight_while_the_oldest_are_dropped_counts_once(
    options: BufferOptions,
) -> None:
    small = options.model_copy(update={"max_bytes": 1024 * 1024, "when_full": WhenFull.DROP_OLDEST})
    async with opened(small) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for number in range(30):
            await store.append(numbered("s", 1, start=number, pad=100_000))
        dropped = store.sink("all").dropped
        assert dropped > 10
        delivered(store, 1, 20)
        await store.flush()
        sink = store.sink("all")
        assert sink.delivered == 20 - dropped
        assert sink.lag == 10 == len(await drain(store, "all"))


async def test_one_sinks_progress_is_not_anothers(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("slow", ("*",), start_now=False)
        await store.append(numbered("s", 5))
        delivered(store, 1, 5)
        await store.tidy()
        assert (store.sink("all").lag, store.sink("slow").lag) == (0, 5)
        assert len(await drain(store, "slow")) == 5


async def test_what_nobody_knows_is_not_settled(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.append(numbered("s", 5))
        delivered(store, 1, 5)
        await store.flush()
        assert store.ledger.sinks == {}


async def test_a_settle_alone_is_written_without_anybody_asking(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 5))
        delivered(store, 1, 5)
        await store.append(numbered("s", 1))  # comes with this commit, and is not waited for
        assert store.sink("all").delivered == 5
