"""What is appended comes back, numbered as it came, for every sink that takes it."""

import asyncio

from buffer_kit import Event, WallClock, drain, entry, line, numbered, opened, read, rows

from forebay.buffer import BufferOptions, CommitStats, Receipt
from forebay.buffer.segment import MAX_SIZE


async def test_events_come_back_in_order_byte_for_byte_with_their_attributes(
    options: BufferOptions,
) -> None:
    odd = b'{ "n" : 1.0e2 ,"\\u00e9":"\xc3\xa9"}'
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("some", ("orders.*",), start_now=False)
        await store.append(entry("orders.eu", odd, b"{}", attributes=({"id": "1"}, None)))
        await store.append(entry("logs", b'{"a":1}'))
        await store.append(entry("orders.us", b'{"a":2}', b'{"a":1}'))
        expected = [
            Event(1, "orders.eu", odd, {"id": "1"}),
            Event(2, "orders.eu", b"{}"),
            Event(3, "logs", b'{"a":1}'),
            Event(4, "orders.us", b'{"a":2}'),
            Event(5, "orders.us", b'{"a":1}'),
        ]
        assert await drain(store, "all") == expected
        assert await drain(store, "some") == [e for e in expected if e.stream != "logs"]
        assert (store.sink("all").routed, store.sink("some").routed) == (5, 4)


async def test_the_seqs_of_one_entry_are_contiguous_among_concurrent_ones(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        entries = [
            numbered(f"s{index % 3}", index % 4 + 1, start=100 * index) for index in range(50)
        ]
        receipts = await asyncio.gather(*(store.append(one) for one in entries))
        stored = {event.seq: event for event in await drain(store, "all")}
        for one, receipt in zip(entries, receipts, strict=True):
            assert receipt.first_seq is not None
            assert receipt.last_seq is not None
            assert receipt.accepted == one.count == receipt.last_seq - receipt.first_seq + 1
            seqs = range(receipt.first_seq, receipt.last_seq + 1)
            assert [stored[seq].data for seq in seqs] == one.payload.split(b"\n")
            assert {stored[seq].stream for seq in seqs} == {one.stream}
        assert sorted(stored) == list(range(1, sum(one.count for one in entries) + 1))


async def test_appends_that_wait_together_share_commits(options: BufferOptions) -> None:
    commits: list[CommitStats] = []
    async with opened(options, observe=commits.append) as store:
        await asyncio.gather(*(store.append(numbered("s", 1, start=n)) for n in range(200)))
        assert len(commits) == 1
        assert commits[0].events == 200
        assert len(rows(options.path, "SELECT * FROM segments")) == 1


async def test_an_empty_entry_takes_no_seq(options: BufferOptions) -> None:
    async with opened(options) as store:
        empty, full = store.append(entry("s")), store.append(entry("s", b"{}"))
        assert await empty == Receipt(0)
        assert await full == Receipt(1, first_seq=1, last_seq=1)
        assert await store.append(entry("other")) == Receipt(0)


async def test_attributes_stay_with_their_events_when_entries_share_a_segment(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await asyncio.gather(
            store.append(entry("s", b'{"a":1}')),
            store.append(entry("s", b'{"a":2}', b'{"a":3}', attributes=(None, {"id": "3"}))),
        )
        assert [event.attributes for event in await drain(store, "all")] == [
            None,
            None,
            {"id": "3"},
        ]


async def test_an_entry_larger_than_a_segment_keeps_its_attributes_in_place(
    options: BufferOptions,
) -> None:
    events = [line(number, MAX_SIZE // 3) for number in range(8)]
    attributes = tuple({"id": str(number)} for number in range(8))
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        receipt = await store.append(entry("s", *events, attributes=attributes))
        assert (receipt.first_seq, receipt.last_seq) == (1, 8)
        assert len(rows(options.path, "SELECT * FROM segments")) > 1
        found = await drain(store, "all")
        assert [(event.data, event.attributes) for event in found] == list(
            zip(events, attributes, strict=True)
        )


async def test_one_event_larger_than_a_segment_is_stored_and_read(options: BufferOptions) -> None:
    huge = line(1, 3 * MAX_SIZE)
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(entry("s", b"{}", huge, b"{}"))
        reader = store.reader("all")
        sizes = [
            [len(part.payload) for part in (await read(reader, 10, 1000)).slices] for _ in "123"
        ]
        assert sizes == [[2], [len(huge)], [2]]
        assert [event.data for event in await drain(store, "all")] == [b"{}", huge, b"{}"]


async def test_events_carry_the_time_of_their_commit(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(options, wall=clock) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for _ in range(2):
            await store.append(numbered("s", 1))
            clock.now += 5
        reading = await read(store.reader("all"))
        assert [part.received_at for part in reading.slices] == [clock.now - 10, clock.now - 5]
        assert store.ledger.oldest_at == clock.now - 10


async def test_a_seq_is_never_used_again_after_everything_was_trimmed(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 7))
        store.settle("all", 1, 7, {})
        await store.tidy()
        assert rows(options.path, "SELECT * FROM segments") == []
        instance = store.ledger.instance
    async with opened(options) as store:
        receipt = await store.append(numbered("s", 1))
        assert receipt.first_seq == 8
        assert store.ledger.instance == instance


async def test_a_client_that_goes_away_does_not_disturb_the_others(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        gone, stays = store.append(numbered("s", 1)), store.append(numbered("s", 2))
        gone.cancel()
        assert (await stays).accepted == 2
        assert len(await drain(store, "all")) == 3


async def test_a_waiting_sink_is_woken_by_its_own_events_alone(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("orders", ("orders",), start_now=False)
        seen: list[int] = []
        store.watch("orders", lambda sink: seen.append(sink.routed))
        await store.append(numbered("logs", 1))
        assert seen == []
        await store.append(numbered("orders", 1))
        assert seen == [1]
