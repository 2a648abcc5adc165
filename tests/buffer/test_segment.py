import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from forebay.buffer import BufferDamaged, Entry, Slice
from forebay.buffer.segment import MAX_SIZE, Packer, Row, chunks, unpack

texts = st.text(max_size=12)
an_event = st.binary(min_size=1, max_size=40).map(lambda data: data.replace(b"\n", b" "))
some_events = st.lists(an_event, min_size=1, max_size=20)
some_attributes = st.none() | st.dictionaries(texts, texts, max_size=3)


@st.composite
def slices(draw: st.DrawFn) -> Slice:
    events = draw(some_events)
    attributes = draw(st.none() | st.tuples(*(some_attributes for _ in events)))
    first_seq = draw(st.integers(1, 2**62))
    return Slice("orders", first_seq, len(events), 1.5, b"\n".join(events), attributes)


def packed(slice_: Slice) -> Row:
    [piece] = Packer().pack(Entry("orders", slice_.payload, slice_.count, slice_.attributes))
    return piece.at(slice_.first_seq, 7, slice_.received_at)


@given(slices())
def test_what_is_packed_comes_back_byte_for_byte(slice_: Slice) -> None:
    assert unpack(packed(slice_), "orders") == slice_


@given(slices(), st.data())
def test_a_flipped_bit_in_any_column_is_found(slice_: Slice, data: st.DataObject) -> None:
    row = packed(slice_)
    name = data.draw(st.sampled_from([field.name for field in fields(Row)]))
    damaged = replace(row, **{name: _flipped(getattr(row, name), data)})
    with pytest.raises(BufferDamaged, match=f"segment {damaged.first_seq}"):
        unpack(damaged, "orders")


def _flipped(value: float | bytes | None, data: st.DataObject) -> float | bytes:
    if isinstance(value, int):
        return value ^ (1 << data.draw(st.integers(0, 61)))
    if isinstance(value, float):
        return value + data.draw(st.sampled_from((0.001, -1.0, 1e9)))
    if not value:
        return b"("  # attributes where there were none
    at, bit = data.draw(st.integers(0, len(value) - 1)), data.draw(st.integers(0, 7))
    return value[:at] + bytes([value[at] ^ (1 << bit)]) + value[at + 1 :]


def test_attributes_that_vanish_are_found() -> None:
    row = packed(Slice("orders", 1, 1, 1.5, b"{}", ({"id": "a"},)))
    with pytest.raises(BufferDamaged):
        unpack(replace(row, attributes=None), "orders")


def test_bytes_that_match_their_checksum_and_are_no_segment_are_damage() -> None:
    careless = Packer()
    careless._compress = lambda data: data
    [piece] = careless.pack(Entry("orders", b"{}", 1))
    row = piece.at(1, 7, 1.5)
    with pytest.raises(BufferDamaged, match="segment 1"):
        unpack(row, "orders")


@given(slices().filter(lambda slice_: slice_.count > 1), st.data())
def test_two_halves_are_the_whole(slice_: Slice, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, slice_.count - 1))
    head, tail = slice_.split(count)
    assert (head.count, tail.count) == (count, slice_.count - count)
    assert (head.first_seq, head.next_seq, tail.next_seq) == (
        slice_.first_seq,
        tail.first_seq,
        slice_.next_seq,
    )
    assert head.payload.split(b"\n") + tail.payload.split(b"\n") == slice_.payload.split(b"\n")
    if slice_.attributes is None:
        assert head.attributes is tail.attributes is None
    else:
        assert (*head.attributes, *tail.attributes) == slice_.attributes  # type: ignore[misc]


@given(slices(), st.integers(0, 900))
def test_as_many_events_fit_as_their_bytes_say(slice_: Slice, size: int) -> None:
    lines = slice_.payload.split(b"\n")
    fitting = slice_.fitting(size)
    assert fitting == max(
        n for n in range(len(lines) + 1) if n == 0 or len(b"\n".join(lines[:n])) <= size
    )


@given(st.lists(st.integers(1, 3 * MAX_SIZE), min_size=1, max_size=6))
@example([MAX_SIZE])
@example([MAX_SIZE, 1])
@example([MAX_SIZE // 2, MAX_SIZE // 2 - 1])
@example([MAX_SIZE // 2, MAX_SIZE // 2])
@example([1, MAX_SIZE + 1, 1])
@example([MAX_SIZE + 1])
def test_chunks_keep_every_event_in_order_and_their_size_in_bounds(sizes: list[int]) -> None:
    events = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    pieces = chunks(b"\n".join(events), len(events))
    assert b"\n".join(piece for piece, _ in pieces).split(b"\n") == events
    for piece, count in pieces:
        assert piece.count(b"\n") + 1 == count
        assert len(piece) <= MAX_SIZE or count == 1
