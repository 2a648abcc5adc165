"""What comes twice is stored once: in one commit group, in a full log, and within bounds."""

import asyncio

from buffer_kit import WallClock, block, drain, entry, numbered, opened, rows
from msgspec.structs import replace

from forebay.buffer import BufferFull, BufferOptions, Entry, Outcome, Receipt, Store, WhenFull

DAY = 86400.0
MIB = 1024 * 1024


def keyed(key: str, *events: bytes, stream: str = "s") -> Entry:
    return replace(entry(stream, *(events or (b"{}",))), key=key.encode())


def clouds(*ids: str | None, stream: str = "s", key: str | None = None) -> Entry:
    """Events with identities of their own; None is one without."""
    events = [b'{"id":"%s"}' % str(id_).encode() for id_ in ids]
    identities = tuple(id_ and id_.encode() for id_ in ids)
    request = key.encode() if key is not None else None
    return replace(entry(stream, *events), event_keys=identities, key=request)


async def subscribed(store: Store) -> None:
    await store.subscribe("all", ("*",), start_now=False)


async def data_of(store: Store) -> list[bytes]:
    return [event.data for event in await drain(store, "all")]


def keys(options: BufferOptions) -> int:
    return int(rows(options.path, "SELECT count(*) FROM seen")[0][0])


def accounts(store: Store) -> None:
    sink = store.sink("all")
    done = sink.delivered + sink.dead_lettered + sink.dropped + sink.expired + sink.quarantined
    assert sink.routed + sink.replayed == done + sink.lag


# ── a request ────────────────────────────────────────────────────────────────────────────────────


async def test_repeats_in_one_commit_group_are_stored_once(options: BufferOptions) -> None:
    async with opened(options, dedup_window=DAY) as store:
        await subscribed(store)
        await store.flush()
        receipts = await asyncio.gather(
            *(store.append(keyed("k" if n % 2 else f"k{n}", b'{"n":%d}' % n)) for n in range(10))
        )
        assert [receipt.accepted for receipt in receipts] == [1, 1, 1, 0, 1, 0, 1, 0, 1, 0]
        assert [receipt.duplicates for receipt in receipts] == [0, 0, 0, 1, 0, 1, 0, 1, 0, 1]
        seqs = [receipt.first_seq for receipt in receipts if receipt.accepted]
        assert seqs == [1, 2, 3, 4, 5, 6]
        assert await data_of(store) == [b'{"n":%d}' % n for n in (0, 1, 2, 4, 6, 8)]


async def test_the_same_key_on_another_stream_is_another_request(options: BufferOptions) -> None:
    async with opened(options, dedup_window=DAY) as store:
        await subscribed(store)
        receipts = await asyncio.gather(
            store.append(keyed("k", stream="a")),
            store.append(keyed("k", stream="b")),
            store.append(keyed("bk", stream="a")),
            store.append(keyed("k", stream="ab")),
        )
        assert [receipt.accepted for receipt in receipts] == [1, 1, 1, 1]


async def test_without_a_window_nothing_is_remembered(options: BufferOptions) -> None:
    async with opened(options, dedup_window=0) as store:
        await subscribed(store)
        receipts = await asyncio.gather(*(store.append(keyed("k")) for _ in range(3)))
        assert [receipt.accepted for receipt in receipts] == [1, 1, 1]
        assert keys(options) == 0


async def test_a_key_is_forgotten_after_its_window_and_not_before(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(options, dedup_window=DAY, wall=clock) as store:
        await subscribed(store)
        await store.append(keyed("k"))
        clock.now += DAY - 1
        assert (await store.append(keyed("k"))).duplicates == 1
        clock.now += 2  # a repeat does not make the window longer
        assert (await store.append(keyed("k"))).accepted == 1
        clock.now += DAY - 1
        assert (await store.append(keyed("k"))).duplicates == 1


# ── single events ────────────────────────────────────────────────────────────────────────────────


async def test_an_event_is_stored_once_alone_and_among_others(options: BufferOptions) -> None:
    async with opened(options, dedup_window=DAY) as store:
        await subscribed(store)
        assert (await store.append(clouds("1"))).accepted == 1
        within = await store.append(clouds("1", "2", "2", None, "3", None))
        assert within == Receipt(4, duplicates=2, first_seq=2, last_seq=5)
        together = await asyncio.gather(*(store.append(clouds("3", "4")) for _ in range(2)))
        assert [(one.accepted, one.duplicates) for one in together] == [(1, 1), (0, 2)]
        ids = [b"1", b"2", b"None", b"3", b"None", b"4"]
        assert await data_of(store) == [b'{"id":"%s"}' % id_ for id_ in ids]


async def test_a_key_of_the_request_comes_before_those_of_its_events(
    options: BufferOptions,
) -> None:
    async with opened(options, dedup_window=DAY) as store:
        await subscribed(store)
        assert (await store.append(clouds("1", key="a"))).accepted == 1
        assert (await store.append(clouds("1", key="b"))).accepted == 1, "another request"
        assert (await store.append(clouds("2", key="a"))).duplicates == 1, "the same request"
        # The events' own identities were not looked at, and not kept.
        assert (await store.append(clouds("1"))).accepted == 1


# ── what is not stored leaves no key ─────────────────────────────────────────────────────────────


def small(options: BufferOptions, policy: WhenFull) -> BufferOptions:
    return options.model_copy(update={"max_bytes": MIB, "when_full": policy})


def large(key: str) -> Entry:
    """Half of a small log."""
    return replace(block(1, MIB), key=key.encode())


async def settled(store: Store) -> None:
    sink, last = store.sink("all"), store.ledger.next_seq - 1
    store.settle("all", sink.cursor.position, last, {Outcome.DELIVERED: sink.lag})
    await store.tidy()


async def test_a_dropped_request_may_come_again(options: BufferOptions) -> None:
    async with opened(small(options, WhenFull.DROP_NEWEST), dedup_window=DAY) as store:
        await subscribed(store)
        await store.append(large("a"))
        assert await store.append(large("b")) == Receipt(0, dropped=1)
        assert await store.append(large("a")) == Receipt(0, duplicates=1)
        await settled(store)
        assert (await store.append(large("b"))).accepted == 1
        assert (store.sink("all").routed, store.sink("all").dropped) == (3, 1)
        accounts(store)


async def test_where_a_group_does_not_fit_its_requests_are_still_told_apart(
    options: BufferOptions,
) -> None:
    async with opened(small(options, WhenFull.REJECT), dedup_window=DAY) as store:
        await subscribed(store)
        await store.append(block(0, 1_300_000))
        receipts = await asyncio.gather(
            store.append(keyed("a", b'{"n":1}')),
            store.append(large("b")),
            store.append(keyed("a", b'{"n":2}')),
            store.append(large("b")),
            store.append(clouds("1", "1")),
            store.append(clouds("1", "2")),
            return_exceptions=True,
        )
        assert [isinstance(one, BufferFull) for one in receipts] == [
            *(False, True, False, True, False, False)
        ]
        told = [(r.accepted, r.duplicates) for r in receipts if isinstance(r, Receipt)]
        assert told == [(1, 0), (0, 1), (1, 1), (1, 1)]
        assert (await data_of(store))[1:] == [b'{"n":1}', b'{"id":"1"}', b'{"id":"2"}']
        await settled(store)
        assert (await store.append(large("b"))).accepted == 1
        accounts(store)


async def test_a_repeat_needs_no_room_in_a_log_that_is_over_its_limit(
    options: BufferOptions,
) -> None:
    """What is stored beside events, cursors and dead letters, may take a full log over it."""
    for policy in WhenFull:
        path = options.path.with_name(f"{policy}.db")
        before = options.model_copy(update={"path": path})
        async with opened(before, dedup_window=DAY) as store:
            await subscribed(store)
            await store.append(keyed("k"))
            for number in range(40):
                await store.append(block(number))
        lowered = before.model_copy(update={"max_bytes": MIB, "when_full": policy})
        async with opened(lowered, dedup_window=DAY) as store:
            assert store.ledger.used_bytes > MIB
            assert await store.append(keyed("k")) == Receipt(0, duplicates=1), policy
            assert store.sink("all").dropped == 0
            accounts(store)


async def test_one_that_was_stored_and_then_dropped_for_room_is_still_a_repeat(
    options: BufferOptions,
) -> None:
    async with opened(small(options, WhenFull.DROP_OLDEST), dedup_window=DAY) as store:
        await subscribed(store)
        await store.append(large("a"))
        await store.append(large("b"))
        assert await store.append(large("a")) == Receipt(0, duplicates=1)
        assert (store.sink("all").dropped, store.sink("all").lag) == (1, 1)


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────


def many(start: int, count: int) -> Entry:
    return clouds(*(f"event-{number}" for number in range(start, start + count)))


async def test_old_keys_go_though_most_of_their_neighbours_came_again(
    options: BufferOptions,
) -> None:
    """A key that comes again after its window gets a new id, and leaves a gap behind."""
    clock = WallClock()
    async with opened(options, dedup_window=DAY, wall=clock) as store:
        await subscribed(store)
        for start in range(0, 20_000, 2000):
            await store.append(many(start, 2000))
        await store.tidy()
        clock.now += DAY + 1
        again = clouds(*(f"event-{number}" for number in range(20_000) if number % 10))
        assert (await store.append(again)).accepted == 18_000
        clock.now += 61
        await store.append(numbered("s", 1))
        await store.tidy()
        assert keys(options) == 18_000, "the old ones have gone, and no new one"


async def test_keys_do_not_fill_a_small_log_before_anybody_looks(options: BufferOptions) -> None:
    """Within one minute of the clock, and with all events delivered, there is room for more."""
    clock = WallClock()
    async with opened(small(options, WhenFull.REJECT), dedup_window=DAY, wall=clock) as store:
        await subscribed(store)
        for start in range(0, 40_000, 1000):
            assert (await store.append(many(start, 1000))).accepted == 1000
            await settled(store)
        assert 1000 <= keys(options) <= 3000
        assert (await store.append(many(39_000, 1000))).duplicates == 1000, "the newest are kept"
        assert (await store.append(many(0, 1000))).accepted == 1000, "the oldest were forgotten"
