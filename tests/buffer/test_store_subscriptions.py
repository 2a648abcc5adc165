"""Where a sink begins, and what changes when its subscription does."""

import pytest
from buffer_kit import drain, numbered, opened, other_connection

from forebay.buffer import BufferOptions, Outcome, SinkState, Store


async def fill(store: Store) -> None:
    for stream in ("a.x", "b", "a.y", "c"):
        await store.append(numbered(stream, 3))


def identity_holds(sink: SinkState) -> bool:
    done = sink.delivered + sink.dead_lettered + sink.dropped + sink.expired + sink.quarantined
    return sink.routed + sink.replayed == done + sink.lag


async def test_a_new_sink_starts_at_the_oldest_event_or_now(options: BufferOptions) -> None:
    async with opened(options) as store:
        await fill(store)
        await store.subscribe("old", ("*",), start_now=False)
        await store.subscribe("new", ("*",), start_now=True)
        await store.append(numbered("a.x", 1))
        assert [event.seq for event in await drain(store, "old")] == list(range(1, 14))
        assert [event.seq for event in await drain(store, "new")] == [13]
        assert (store.sink("old").lag, store.sink("new").lag) == (13, 1)


async def test_a_known_sink_goes_on_where_it_was(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await fill(store)
        store.settle("all", 1, 5, {Outcome.DELIVERED: 5})
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=True)
        assert [event.seq for event in await drain(store, "all")] == list(range(6, 13))
        assert (store.sink("all").delivered, store.sink("all").lag) == (5, 7)


@pytest.mark.parametrize("reopen", [False, True])
@pytest.mark.parametrize("settled", [(), ((1, 4),), ((2, 2), (4, 5), (8, 11)), ((1, 12),)])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("a.*",), ("*",)),
        (("*",), ("a.*",)),
        (("a.*",), ("b", "c")),
        (("none",), ("*",)),
        (("*",), ("none",)),
    ],
)
async def test_a_changed_subscription_counts_what_a_fresh_reader_reads(
    options: BufferOptions,
    before: tuple[str, ...],
    after: tuple[str, ...],
    settled: tuple[tuple[int, int], ...],
    reopen: bool,
) -> None:
    async with opened(options) as store:
        await store.subscribe("keeps", ("*",), start_now=False)
        await store.subscribe("all", before, start_now=False)
        await fill(store)
        for first, last in settled:
            own = [event for event in await drain(store, "all") if first <= event.seq <= last]
            store.settle("all", first, last, {Outcome.DELIVERED: len(own)})
            await store.flush()
        assert store.sink("all").lag == len(await drain(store, "all"))
        if not reopen:
            await store.subscribe("all", after, start_now=False)
            await compare(store, settled, after)
    if reopen:
        async with opened(options) as store:
            await store.subscribe("all", after, start_now=False)
            await compare(store, settled, after)


async def compare(
    store: Store, settled: tuple[tuple[int, int], ...], after: tuple[str, ...]
) -> None:
    everything = await drain(store, "keeps")
    done = {seq for first, last in settled for seq in range(first, last + 1)}
    takes = SinkState(after, store.sink("all").cursor).takes
    expected = [event for event in everything if event.seq not in done and takes(event.stream)]
    assert await drain(store, "all") == expected
    assert store.sink("all").lag == len(expected)
    assert identity_holds(store.sink("all"))
    receipt = await store.append(numbered(after[0].replace("*", "z"), 1))
    assert [event.seq for event in await drain(store, "all")][-1] == receipt.first_seq
    assert store.sink("all").lag == len(expected) + 1


async def test_a_sink_that_had_caught_up_reads_what_it_gains(options: BufferOptions) -> None:
    """Its lag was nothing, so it had passed over the events that are its own from now on."""
    async with opened(options) as store:
        await store.subscribe("keeps", ("*",), start_now=False)
        await store.subscribe("all", ("none",), start_now=False)
        await fill(store)
        await store.subscribe("all", ("*",), start_now=False)
        assert len(await drain(store, "all")) == store.sink("all").lag == 12


async def test_the_same_subscription_again_reads_no_segment(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await fill(store)
        before = store.sink("all")
        with other_connection(options.path) as database:
            version = database.execute("PRAGMA data_version").fetchone()
            await store.subscribe("all", ("*",), start_now=False)
            assert store.sink("all") == before
            assert database.execute("PRAGMA data_version").fetchone() == version
