"""A reader hands out all that waits, once, in order, cut where it was asked to."""

import pytest
from buffer_kit import drain, entry, events_of, line, numbered, opened, read, rest

from forebay.buffer import BufferOptions, Damage, Outcome, Store
from forebay.buffer.segment import MAX_SIZE


async def seqs(store: Store, sink: str) -> list[int]:
    return [event.seq for event in await drain(store, sink)]


@pytest.mark.parametrize("max_events", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("max_bytes", [1, 17, 18, 35, 36, 60, 10_000])
async def test_readings_are_cut_between_events_and_across_segments(
    options: BufferOptions, max_events: int, max_bytes: int
) -> None:
    async with opened(options) as store:
        await store.subscribe("some", ("s", "t"), start_now=False)
        for number, stream in enumerate(("s", "foreign", "t", "s", "foreign", "foreign", "s")):
            await store.append(numbered(stream, 3, start=10 * number + 10))
        expected = await drain(store, "some")
        reader, found, next_seq = store.reader("some"), [], 1
        while True:
            reading = await read(reader, max_events, max_bytes)
            if reading.last < reading.first:
                break
            assert reading.first == next_seq, "stretches follow each other without a gap"
            next_seq = reading.last + 1
            events = events_of(reading)
            assert 1 <= len(events) <= max_events
            size = len(b"\n".join(event.data for event in events))
            assert size <= max_bytes or len(events) == 1
            following = expected[len(found) + len(events) :][:1]
            if following and len(events) < max_events:
                assert size + 1 + len(following[0].data) > max_bytes, "one more would have fitted"
            found += events
        assert found == expected
        assert len(found) == 12
        assert next_seq == 22


async def test_a_reader_goes_on_with_what_comes_later(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        reader = store.reader("all")
        nothing = await read(reader)
        assert (nothing.first, nothing.last, nothing.slices) == (1, 0, ())
        await store.append(numbered("s", 2))
        assert [event.seq for event in await rest(reader)] == [1, 2]
        await store.append(numbered("s", 2))
        assert [event.seq for event in await rest(reader)] == [3, 4]


async def test_a_sink_for_which_nothing_waited_need_not_go_through_what_was_for_others(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("orders", ("orders",), start_now=False)
        for _ in range(5):
            await store.append(numbered("logs", 2))
        assert await seqs(store, "orders") == []
        await store.append(numbered("orders", 1))
        reading = await read(store.reader("orders"))
        assert (reading.first, reading.last) == (11, 11)
        assert [part.first_seq for part in reading.slices] == [11]


async def test_more_segments_than_one_query_looks_at_are_all_read(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("last", ("s2499",), start_now=False)
        for number in range(2500):
            store.append(entry(f"s{number}", b"{}"))
        await store.flush()
        assert await seqs(store, "all") == list(range(1, 2501))
        assert await seqs(store, "last") == [2500]


async def test_a_reopened_log_skips_exactly_what_was_done_out_of_order(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 10))
        await store.append(numbered("t", 10))
        for first, last in ((3, 4), (9, 12), (20, 20), (5, 5)):
            store.settle("all", first, last, {Outcome.DELIVERED: last - first + 1})
    left = [1, 2, 6, 7, 8, *range(13, 20)]
    async with opened(options) as store:
        assert await seqs(store, "all") == left
        assert store.sink("all").cursor.done == ((3, 5), (9, 12), (20, 20))
        assert store.sink("all").lag == len(left)
        store.settle("all", 1, 2, {Outcome.DELIVERED: 2})
        await store.flush()
        assert store.sink("all").cursor.position == 6


async def test_a_set_aside_segment_behind_a_large_one_does_not_stop_the_reader(
    options: BufferOptions,
) -> None:
    """The gap belongs to nobody's cursor, and the segment before it fills a whole reading."""
    large = entry("s", *(line(number, 2000) for number in range(100)))
    async with opened(options) as store:
        await store.subscribe("some", ("s",), start_now=False)
        await store.subscribe("slow", ("*",), start_now=False)
        await store.append(large)
        gap = await store.append(numbered("foreign", 3))
        await store.append(numbered("s", 2))
        assert gap.first_seq is not None
        await store.quarantine(Damage(gap.first_seq, "a test"))
        found = await rest(store.reader("some"), max_bytes=4000)
        assert [event.seq for event in found] == [*range(1, 101), 104, 105]


async def test_a_reader_holds_no_more_than_it_was_asked_and_one_segment(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for number in range(6):
            await store.append(numbered("s", 4, start=number, pad=MAX_SIZE // 8))
        reader = store.reader("all")
        await read(reader, 10_000, 1000)
        assert sum(len(part.payload) for part in reader._ready) <= MAX_SIZE
        await read(reader, 1, 10 * MAX_SIZE)
        assert sum(len(part.payload) for part in reader._ready) <= MAX_SIZE


async def test_readers_of_one_sink_do_not_disturb_each_other(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 6))
        one, two = store.reader("all"), store.reader("all")
        assert [e.seq for e in events_of(await read(one, 4))] == [1, 2, 3, 4]
        assert [e.seq for e in events_of(await read(two, 2))] == [1, 2]
        assert [e.seq for e in await rest(one)] == [5, 6]
        assert [e.seq for e in await rest(two)] == [3, 4, 5, 6]
