from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.sinks import Batch, Hold, Part, Rejected, Sink
from forebay.sinks.registry import SINKS

SIZES = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=6)


def build(sizes: list[tuple[int, int]]) -> Batch:
    parts, seq = [], 1
    for count, gap in sizes:
        seq += gap
        lines = [b'{"seq":%d}' % number for number in range(seq, seq + count)]
        marks = tuple({"id": str(number)} for number in range(seq, seq + count))
        parts.append(Part("s", seq, count, 0.0, b"\n".join(lines), marks))
        seq += count
    return Batch("i/s", tuple(parts))


@given(SIZES, st.data())
def test_halving_a_batch_loses_and_doubles_nothing(
    sizes: list[tuple[int, int]], data: st.DataObject
):
    whole = build(sizes)
    middle = data.draw(st.integers(0, whole.count))
    halves = [
        whole.cut(*ends) for ends in ((0, middle), (middle, whole.count)) if ends[0] < ends[1]
    ]
    assert [event for half in halves for event in half.events] == list(whole.events)
    for half in halves:
        assert half.nbytes == len(half.ndjson())
        assert half.count == len(half.events) == len(half)
        for part in half.parts:
            assert part.attributes is not None
            assert len(part.attributes) == part.count
            assert part.payload.startswith(b'{"seq":%d}' % part.first_seq)
            assert part.attributes[-1] == {"id": str(part.last_seq)}


@given(SIZES)
def test_runs_are_what_is_there_without_the_gaps(sizes: list[tuple[int, int]]):
    whole = build(sizes)
    seqs = [seq for part in whole.parts for seq in range(part.first_seq, part.last_seq + 1)]
    runs = list(whole.runs())
    assert [seq for first, last in runs for seq in range(first, last + 1)] == seqs
    assert all(after[0] > before[1] + 1 for before, after in pairwise(runs))
    assert whole.id == f"i/s/{seqs[0]}-{seqs[-1]}"


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (-1, 1), (0, 3), (2, 1)])
def test_an_empty_or_impossible_piece_is_refused(start: int, stop: int):
    with pytest.raises(IndexError, match="cannot cut"):
        build([(2, 0)]).cut(start, stop)


def test_an_uncut_part_is_not_copied():
    part = build([(3, 0)]).parts[0]
    assert part.cut(0, 3) is part


def test_each_rejected_row_has_its_own_reason_and_any_other_the_common_one():
    answer = Rejected("row 4, …", rows={4: "no number", 1: "no date"}, status=400)
    assert answer.rows == [1, 4]
    assert [answer.reason_of(row) for row in (1, 2, 4)] == ["no date", "row 4, …", "no number"]
    assert (answer.reason, answer.status) == ("row 4, …", 400)
    assert Rejected("HTTP 400", rows=[0]).reason_of(0) == "HTTP 400"
    assert Rejected("HTTP 400").rows is None
    assert Hold("HTTP 404").reason_of(7) == "HTTP 404"


def test_a_sink_that_says_nothing_of_identity_and_order_needs_neither():
    assert (Sink.identified, Sink.ordered) == (False, False)
    assert [name for name, sink in SINKS.items() if sink.identified] == ["http"]
    assert not any(sink.ordered for sink in SINKS.values())
