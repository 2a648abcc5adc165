from hypothesis import given
from hypothesis import strategies as st

from forebay.buffer.cursors import Cursor

END = 60
ranges = st.tuples(st.integers(1, END), st.integers(0, 15)).map(lambda r: (r[0], r[0] + r[1]))
histories = st.tuples(st.integers(1, 20), st.lists(ranges, max_size=12))


def built(history: tuple[int, list[tuple[int, int]]]) -> tuple[Cursor, set[int]]:
    """A cursor, and the seqs that are done, as a plain set."""
    position, settled = history
    cursor, done = Cursor(position), set(range(position))
    for first, last in settled:
        cursor = cursor.settle(first, last)
        done.update(range(first, last + 1))
    return cursor, done


@given(histories)
def test_a_cursor_has_one_form_however_it_came_about(
    history: tuple[int, list[tuple[int, int]]],
) -> None:
    cursor, done = built(history)
    assert cursor.position == next(seq for seq in range(1, 200) if seq not in done)
    above = sorted(seq for seq in done if seq > cursor.position)
    assert [seq for low, high in cursor.done for seq in range(low, high + 1)] == above
    for (_, high), (low, _) in zip(cursor.done, cursor.done[1:], strict=False):
        assert high + 1 < low, "touching ranges are one"
    assert built((history[0], history[1][::-1]))[0] == cursor, "the order does not matter"


@given(histories, ranges)
def test_questions_agree_with_a_plain_set(
    history: tuple[int, list[tuple[int, int]]], asked: tuple[int, int]
) -> None:
    (cursor, done), (first, last) = built(history), asked
    stretch = range(first, last + 1)
    assert cursor.covers(first, last) == all(seq in done for seq in stretch)
    assert cursor.touches(first, last) == any(seq in done for seq in stretch)
    assert cursor.open_events(first, last) == sum(seq not in done for seq in stretch)
    assert cursor.next_open(first) == next(seq for seq in range(first, 200) if seq not in done)


@given(histories, ranges)
def test_settling_twice_changes_nothing(
    history: tuple[int, list[tuple[int, int]]], again: tuple[int, int]
) -> None:
    cursor = built(history)[0].settle(*again)
    assert cursor.settle(*again) == cursor
    assert cursor.covers(*again)


def test_an_empty_stretch_is_open() -> None:
    assert Cursor(1).open_events(5, 4) == 0
