"""The newest events are read from memory: the same ones, in the same order, as from the file."""

import tempfile
from pathlib import Path

import pytest
from buffer_kit import drain, entry, events_of, numbered, opened, read, rest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forebay.buffer import BufferOptions, Damage, Durability, LogReader, Outcome, Slice, Store
from forebay.buffer.tail import Tail


def slice_(first: int, count: int = 1, *, size: int = 10, stream: str = "s") -> Slice:
    lines = [b"%*d" % (size, seq) for seq in range(first, first + count)]
    return Slice(stream, first, count, 1.0, b"\n".join(lines))


def seqs(tail: Tail, seq: int, end: int) -> list[int] | None:
    found = tail.since(seq, end)
    return None if found is None else [each.first_seq for each in found]


def test_what_is_asked_for_is_found_from_the_slice_on_that_holds_it():
    tail = Tail()
    tail.extend([slice_(5, 3), slice_(8)])
    tail.extend([slice_(9, 2)])
    assert seqs(tail, 5, 11) == seqs(tail, 7, 11) == [5, 8, 9]
    assert seqs(tail, 8, 11) == [8, 9]
    assert seqs(tail, 10, 11) == [9]


def test_who_needs_what_is_not_there_must_go_to_the_file():
    tail = Tail()
    assert seqs(tail, 1, 2) is None
    tail.extend([slice_(5, 3)])
    assert seqs(tail, 4, 8) is None, "it begins later"
    assert seqs(tail, 5, 9) is None, "it ends earlier"


def test_behind_a_gap_it_begins_anew():
    tail = Tail()
    tail.extend([slice_(1), slice_(2)])
    tail.extend([slice_(4)])
    assert seqs(tail, 4, 5) == [4]
    assert seqs(tail, 2, 5) is None
    tail.clear()
    assert seqs(tail, 4, 5) is None


@pytest.mark.parametrize("attributes", [None, ({"id": "x"},)])
def test_it_keeps_no_more_than_its_bound_whatever_comes(
    attributes: tuple[dict[str, str]] | None,
):
    tail = Tail(max_bytes=20_000)
    for seq in range(1, 2000):
        tail.extend([Slice("s", seq, 1, 1.0, b"{}" * (seq % 50), attributes)])
        assert tail._size <= 20_000
    assert seqs(tail, 1999, 2000) == [1999]
    assert len(tail._slices) < 100
    tail.extend([slice_(2000, size=30_000)])
    assert seqs(tail, 2000, 2001) is None, "what is larger than all of it is not kept"
    assert tail._size == 0


async def test_a_sink_that_keeps_up_reads_nothing_from_the_file(options: BufferOptions):
    async with opened(options) as store:
        await store.subscribe("some", ("a", "b"), start_now=False)
        reader = store.reader("some")
        reader._fetcher = None  # type: ignore[assignment]  # it fails when it is asked
        for number in range(20):
            await store.append(numbered("abc"[number % 3], 3, start=number))
            reading = await read(reader)
            assert len(events_of(reading)) == (0 if number % 3 == 2 else 3)
            assert reading.last == store.ledger.next_seq - 1


async def test_what_others_are_done_with_meanwhile_is_not_handed_out(options: BufferOptions):
    """Expiry, a drop policy: what was got ready must not be sent and counted twice."""
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 10))
        reader = store.reader("all")
        await reader.ahead(8, 10_000)
        store.settle("all", 1, 3, {Outcome.EXPIRED: 3})
        store.settle("all", 6, 6, {Outcome.DROPPED: 1})
        await store.flush()
        first, second = await read(reader, 4), await read(reader, 4)
        assert [event.seq for event in events_of(first)] == [4, 5, 7, 8]
        assert [event.seq for event in events_of(second)] == [9, 10]
        assert (first.first, first.last, second.first, second.last) == (1, 8, 9, 10)


async def test_what_is_got_ready_is_bounded(options: BufferOptions):
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for number in range(50):
            await store.append(numbered("s", 7, start=7 * number))
    async with opened(options) as store:
        reader = store.reader("all")
        for _ in range(3):
            await reader.ahead(100, 10_000)
            assert 100 <= sum(part.count for part in reader._ready) < 107
        assert reader.position == 1, "nothing was handed out"
        assert [event.seq for event in await rest(reader)] == list(range(1, 351))


async def test_what_is_deleted_is_not_read_from_memory_either(options: BufferOptions):
    async with opened(options) as store:
        await store.subscribe("all", ("b",), start_now=False)
        await store.append(numbered("b", 4))
        await store.subscribe("all", ("a",), start_now=False)  # these are dropped, and trimmed
        await store.tidy()
        await store.subscribe("all", ("b",), start_now=False)
        assert store.sink("all").lag == 0
        assert await drain(store, "all") == []


async def test_what_is_set_aside_is_not_read_from_memory_either(options: BufferOptions):
    async with opened(options) as store:
        await store.subscribe("all", ("b",), start_now=False)
        for _ in range(3):
            await store.append(numbered("b", 2))
        await store.subscribe("other", ("a",), start_now=False)
        await store.quarantine(Damage(3, "a test"))
        await store.subscribe("other", ("b",), start_now=False)
        assert store.sink("other").lag == 4
        assert [event.seq for event in await drain(store, "other")] == [1, 2, 5, 6]


appends = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.booleans()), min_size=1, max_size=4
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), appends, st.sampled_from(("hand over", "leave out"))),
        st.tuples(st.just("read"), st.integers(1, 12), st.integers(1, 300)),
        st.tuples(st.just("ahead"), st.integers(1, 12), st.integers(1, 300)),
        st.tuples(st.just("done"), st.integers(0, 8), st.integers(1, 4)),
    ),
    max_size=25,
)


@example(
    script=[
        ("append", [("a", 1, False)], "hand over"),
        ("read", 1, 1),
        ("append", [("a", 1, False), ("c", 1, False), *[("a", 1, False)] * 2], "hand over"),
        ("read", 1, 1),
        ("ahead", 1, 1),
        ("done", 1, 1),
        ("read", 1, 1),
    ],
    max_bytes=600,
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=steps, max_bytes=st.sampled_from((600, 2000, 100_000)))
async def test_whatever_comes_from_memory_and_what_from_the_file_it_is_the_same(
    script: list[tuple[str, ...]], max_bytes: int
):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "buffer.db"
        async with opened(BufferOptions(path=path, durability=Durability.OS)) as store:
            for name in ("some", "feed"):
                await store.subscribe(
                    name, ("a", "b") if name == "some" else ("*",), start_now=False
                )
            await _Twins(store, Tail(max_bytes)).play(script)


class _Twins:
    """Two readers of one sink, one of which has a tail; what they hand out must be equal."""

    def __init__(self, store: Store, tail: Tail) -> None:
        self.store, self.tail = store, tail
        self.feed = self._reader("feed", Tail())
        self.file, self.memory = self._reader("some", Tail()), self._reader("some", tail)

    def _reader(self, name: str, tail: Tail) -> LogReader:
        return LogReader(name, lambda: self.store.ledger, self.store._connection, tail)

    async def play(self, script: list[tuple[str, ...]]) -> None:
        for step, *arguments in script:
            await getattr(self, step)(*arguments)
        assert await rest(self.memory) == await rest(self.file)
        assert self.memory.position == self.file.position == self.store.ledger.next_seq

    async def append(self, group: list[tuple[str, int, bool]], how: str) -> None:
        for stream, count, marked in group:
            marks = tuple({"id": str(number)} for number in range(count)) if marked else None
            lines = [b'{"n":%d}' % number for number in range(count)]
            await self.store.append(entry(stream, *lines, attributes=marks))
        handed = await read(self.feed)
        if how == "hand over":
            self.tail.extend(handed.slices)

    async def read(self, events: int, size: int) -> None:
        one, two = await read(self.memory, events, size), await read(self.file, events, size)
        # Which of the events that others take a stretch reaches over may differ.
        assert events_of(one) == events_of(two)

    async def ahead(self, events: int, size: int) -> None:
        await self.memory.ahead(events, size)

    async def done(self, offset: int, count: int) -> None:
        first = min(self.memory.position + offset, self.store.ledger.next_seq)
        last = min(first + count, self.store.ledger.next_seq) - 1
        self.store.settle("some", first, last, {Outcome.DROPPED: count})
        await self.store.flush()
