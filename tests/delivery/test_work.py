"""Cutting a batch: every piece answers for its own stretch of the log, and together for all."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from forebay.buffer import DeadLetter, Reading, Slice
from forebay.buffer.cursors import Cursor
from forebay.daemon.delivery.work import Work, from_letters, from_log


def reading(counts: list[tuple[int, int]], *, before: int = 0, after: int = 0) -> Reading:
    """Slices of so many events, each behind so many events of others."""
    slices, seq = [], 100 + before
    for gap, count in counts:
        seq += gap
        payload = b"\n".join(b'{"seq":%d}' % (seq + index) for index in range(count))
        slices.append(Slice("a", seq, count, 1.0, payload))
        seq += count
    return Reading(100, seq + after - 1, tuple(slices))


def seqs(work: Work) -> list[int]:
    found = [seq for part in work.batch.parts for seq in range(part.first_seq, part.last_seq + 1)]
    assert work.batch.events == [b'{"seq":%d}' % seq for seq in found]
    return found


stretches = st.tuples(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=6),
    st.integers(0, 3),
    st.integers(0, 3),
)


@given(stretch=stretches, data=st.data())
def test_however_a_batch_is_cut_all_of_its_stretch_is_settled_and_each_event_once(
    stretch: tuple[list[tuple[int, int]], int, int], data: st.DataObject
):
    counts, before, after = stretch
    read = reading(counts, before=before, after=after)
    whole = from_log("i/s", read)
    pieces, cursor, done = [whole], Cursor(read.first), Counter[int]()
    while pieces:
        work = pieces.pop(0)
        step = data.draw(st.sampled_from(("deliver", "halve", "without")))
        if step == "halve" and work.batch.count > 1:
            pieces[:0] = work.halves()
        elif step == "without" and work.batch.count > 1:
            rows = data.draw(
                st.sets(
                    st.integers(0, work.batch.count - 1),
                    min_size=1,
                    max_size=work.batch.count - 1,
                )
            )
            for row in rows:
                seq = seqs(work)[row]
                done[seq] += 1
                cursor = cursor.settle(seq, seq)
            rest = work.without(sorted(rows))
            assert rest is not None
            pieces.insert(0, rest)
        else:
            done.update(seqs(work))
            assert not cursor.covers(work.first, work.last)
            cursor = cursor.settle(work.first, work.last)
    assert set(done.values()) == {1}
    assert sorted(done) == seqs(whole)
    assert cursor == Cursor(read.last + 1)


def test_halves_keep_what_was_tried():
    work = from_log("i/s", reading([(0, 5)])).again(ambiguous=True).again(ambiguous=False)
    head, tail = work.halves()
    assert (head.batch.count, tail.batch.count) == (2, 3)
    assert {(half.attempts, half.repeats) for half in (head, tail)} == {(2, 1)}


def test_two_works_of_the_same_content_are_two():
    """They are kept in sets, also those whose events have attributes."""
    read = reading([(0, 1)])
    assert len({from_log("i/s", read), from_log("i/s", read)}) == 2


def letter(id_: int, seq: int) -> DeadLetter:
    return DeadLetter("s", "a", seq, 1.0, 2.0, 1, 400, "no", b'{"seq":%d}' % seq, None, id_)


def test_replayed_letters_travel_in_the_order_of_their_seqs():
    """They were buried in the order in which the sink refused them."""
    work = from_letters("i/s", [letter(1, 30), letter(2, 10), letter(3, 20)])
    assert seqs(work) == [10, 20, 30]
    assert work.letters == (2, 3, 1)
    head, tail = work.halves()
    assert (seqs(head), head.letters) == ([10], (2,))
    assert (seqs(tail), tail.letters) == ([20, 30], (3, 1))
    rest = work.without([1])
    assert rest is not None
    assert (seqs(rest), rest.letters) == ([10, 30], (2, 1))
    assert work.without([0, 1, 2]) is None


def test_a_replay_that_has_grown_is_not_taken_for_the_one_before():
    """A sink that deduplicates by the batch's id would take what was added for stored."""
    first = from_letters("i/s", [letter(1, 10), letter(3, 30)])
    grown = from_letters("i/s", [letter(1, 10), letter(2, 20), letter(3, 30)])
    assert first.batch.id != grown.batch.id
