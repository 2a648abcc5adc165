"""What was stored before, within the window, is not stored again; what was not, is."""

import asyncio

import pytest
from buffer_kit import WallClock, block, drain, entry, numbered, opened, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from forebay.buffer import BufferFull, BufferOptions, Entry, Outcome, Receipt, WhenFull

WINDOW = 3600.0


def keyed(key: bytes, *events: bytes, stream: str = "s") -> Entry:
    return replace(entry(stream, *(events or (b"{}",))), key=key)


def with_event_keys(*keys: bytes | None) -> Entry:
    events = [b'{"n":%d}' % number for number in range(len(keys))]
    return replace(entry("s", *events), event_keys=keys)


async def test_a_repeated_request_is_answered_and_not_stored(options: BufferOptions) -> None:
    async with opened(options, dedup_window=WINDOW) as store:
        await store.subscribe("all", ("*",), start_now=False)
        first = await store.append(keyed(b"k", b"{}", b"[]"))
        assert first == Receipt(2, 0, 0, 1, 2)
        assert await store.append(keyed(b"k", b"{}")) == Receipt(0, 1)
        assert (await store.append(keyed(b"k", stream="other"))).accepted == 1, "keys have a stream"
        assert (await store.append(keyed(b"k2"))).first_seq == 4
    async with opened(options, dedup_window=WINDOW) as store:
        assert await store.append(keyed(b"k", b"{}", b"[]")) == Receipt(0, 2)
        assert len(await drain(store, "all")) == store.sink("all").routed == 4


async def test_concurrent_repeats_are_stored_once(options: BufferOptions) -> None:
    async with opened(options, dedup_window=WINDOW) as store:
        receipts = await asyncio.gather(*(store.append(keyed(b"k")) for _ in range(20)))
        assert sorted(receipt.accepted for receipt in receipts) == [0] * 19 + [1]
        assert sum(receipt.duplicates for receipt in receipts) == 19
        assert store.ledger.next_seq == 2


async def test_the_new_events_of_a_batch_are_stored_with_what_is_theirs(
    options: BufferOptions,
) -> None:
    async with opened(options, dedup_window=WINDOW) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(with_event_keys(b"a", None))
        batch = replace(
            with_event_keys(b"a", b"b", None, b"b", b"c"),
            attributes=tuple({"id": str(number)} for number in range(5)),
        )
        assert await store.append(batch) == Receipt(3, 2, 0, 3, 5)
        found = (await drain(store, "all"))[2:]
        assert [(event.data, event.attributes) for event in found] == [
            (b'{"n":%d}' % number, {"id": str(number)}) for number in (1, 2, 4)
        ]


async def test_an_event_and_a_request_of_one_name_are_two(options: BufferOptions) -> None:
    async with opened(options, dedup_window=WINDOW) as store:
        assert (await store.append(keyed(b"k"))).accepted == 1
        assert (await store.append(with_event_keys(b"k"))).accepted == 1


async def test_a_refused_request_is_not_remembered(options: BufferOptions) -> None:
    small = options.model_copy(update={"max_bytes": 1024 * 1024})
    async with opened(small, dedup_window=WINDOW) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(replace(block(1, 1_800_000), key=b"large"))
        again = replace(block(2, 1_800_000), key=b"again")
        with pytest.raises(BufferFull):
            await store.append(again)
        store.settle("all", 1, 1, {Outcome.DELIVERED: 1})
        await store.tidy()
        assert (await store.append(again)).accepted == 1
        assert await store.append(again) == Receipt(0, 1), "known, also when there is no room"


async def test_what_is_dropped_is_new_and_what_is_repeated_is_not_dropped(
    options: BufferOptions,
) -> None:
    small = options.model_copy(update={"max_bytes": 1024 * 1024, "when_full": WhenFull.DROP_NEWEST})
    async with opened(small, dedup_window=WINDOW) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(with_event_keys(b"a"))
        large = block(2, 2_400_000).payload
        batch = replace(entry("s", b"{}", large), event_keys=(b"a", b"b"))
        assert await store.append(batch) == Receipt(0, 1, 1)
        sink = store.sink("all")
        assert (sink.routed, sink.dropped, sink.lag) == (2, 1, 1)


async def test_keys_go_when_their_window_has_passed(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(options, wall=clock, dedup_window=WINDOW) as store:
        for number in range(5000):
            store.append(keyed(b"%d" % number))
        await store.flush()
        clock.now += 100
        await store.append(keyed(b"later"))
        clock.now += WINDOW - 50
        await store.append(keyed(b"10"))  # leaves a gap where it was
        await store.tidy()
        assert rows(options.path, "SELECT count(*) FROM seen") == [(2,)]
        assert (await store.append(keyed(b"later"))).duplicates == 1


steps = st.lists(
    st.tuples(
        st.sampled_from(("s", "t")),
        st.none() | st.sampled_from((b"a", b"b", b"c")),
        st.lists(st.none() | st.sampled_from((b"a", b"b", b"c", b"d")), min_size=1, max_size=4),
        st.sampled_from((0, 0, 0, 30, 70)),
        st.booleans(),
    ),
    max_size=25,
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
def test_any_history_agrees_with_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, options: BufferOptions, history: list[tuple]
) -> None:
    path = tmp_path_factory.mktemp("dedup") / "buffer.db"
    asyncio.run(_compare(options.model_copy(update={"path": path}), history))


async def _compare(options: BufferOptions, history: list[tuple]) -> None:
    clock = WallClock()
    seen: dict[tuple[object, ...], float] = {}
    opening = opened(options, wall=clock, dedup_window=60.0)
    store = await opening.__aenter__()
    for stream, key, event_keys, minutes, reopen in history:
        clock.now += minutes
        if reopen:
            await opening.__aexit__(None, None, None)
            opening = opened(options, wall=clock, dedup_window=60.0)
            store = await opening.__aenter__()
        sent = replace(numbered(stream, len(event_keys)), key=key, event_keys=tuple(event_keys))
        identities = [(stream, key)] if key else [(stream, "event", one) for one in event_keys]
        new = 0
        for identity in identities:
            known = identity[-1] is not None and seen.get(identity, -1e9) > clock.now - 60.0
            if not known:
                new += len(event_keys) if key else 1
                seen[identity] = clock.now
        receipt = await store.append(sent)
        assert (receipt.accepted, receipt.duplicates) == (new, len(event_keys) - new)
    await opening.__aexit__(None, None, None)
