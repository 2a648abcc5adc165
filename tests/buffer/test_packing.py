"""Large entries are compressed on their way to the writer, and stay in line."""

import asyncio
import random
import sqlite3
from contextlib import closing

import pytest
from buffer_kit import block, drain, entry, line, numbered, opened
from hypothesis import given
from hypothesis import strategies as st

from forebay.buffer import BufferOptions, BufferUnavailable, Entry, Store
from forebay.buffer.operations import Append, Operation
from forebay.buffer.packing import LARGE, Packing

SMALL, BIG = 20, LARGE + 1000


def appends(sizes: list[int]) -> list[Append]:
    return [Append(block(number, size), lambda _: None) for number, size in enumerate(sizes)]


@given(st.lists(st.lists(st.sampled_from([SMALL, BIG]), min_size=1, max_size=5), max_size=12))
def test_nothing_overtakes_anything(lines: list[list[int]]) -> None:
    passed: list[Operation] = []
    packing = Packing(passed.extend)
    packing.start()
    given_ = [appends(sizes) for sizes in lines]
    for operations in given_:
        packing.submit(list(operations))
    packing.stop()
    assert [id(op) for op in passed] == [id(op) for operations in given_ for op in operations]
    for operation in passed:
        assert isinstance(operation, Append)
        large = len(operation.entry.payload) >= LARGE
        assert (operation.pieces is not None) == large


async def test_large_and_small_entries_of_one_commit_come_back_in_their_order(
    options: BufferOptions,
) -> None:
    dice = random.Random(3)
    sent = [
        numbered("s", 1 + number % 3, start=number, pad=dice.choice([SMALL, BIG]))
        for number in range(40)
    ]
    sent.append(entry("s", *(line(number, 300_000) for number in range(8))))  # several segments
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        receipts = await asyncio.gather(*(store.append(one) for one in sent))
        firsts = [receipt.first_seq for receipt in receipts]
        assert firsts == sorted(firsts)  # type: ignore[type-var]
        stored = [event.data for event in await drain(store, "all")]
    assert stored == [event for one in sent for event in one.payload.split(b"\n")]


async def test_what_is_read_from_the_file_is_what_was_packed_on_the_way(
    options: BufferOptions,
) -> None:
    attributes = tuple({"id": str(number)} if number % 2 else None for number in range(8))
    one = entry("s", *(line(number, 300_000) for number in range(8)), attributes=attributes)
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(one)
    async with opened(options) as store:
        found = await drain(store, "all")
    assert [event.data for event in found] == one.payload.split(b"\n")
    assert [event.attributes for event in found] == list(attributes)
    with closing(sqlite3.connect(options.path)) as database:
        assert database.execute("SELECT count(*) FROM segments").fetchone()[0] > 1


async def test_only_the_new_part_of_a_large_entry_is_stored(options: BufferOptions) -> None:
    events = [line(number, BIG) for number in range(3)]
    async with opened(options, dedup_window=60.0) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(Entry("s", events[1], 1, event_keys=(b"1",)))
        keys = (b"0", b"1", b"2")
        receipt = await store.append(Entry("s", b"\n".join(events), 3, event_keys=keys))
        assert (receipt.accepted, receipt.duplicates) == (2, 1)
        assert [event.data for event in await drain(store, "all")] == [
            events[1],
            events[0],
            events[2],
        ]


async def test_what_is_still_being_packed_at_the_end_is_written(options: BufferOptions) -> None:
    store = Store(options)
    await store.open()
    await store.subscribe("all", ("*",), start_now=False)
    futures = [store.append(block(number, 2_000_000)) for number in range(5)]
    await store.close()
    assert [(await future).first_seq for future in futures] == [1, 2, 3, 4, 5]
    with pytest.raises(BufferUnavailable):
        store.append(block(6))
