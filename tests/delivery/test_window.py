"""How many sends may be under way: as many as the sink takes well."""

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.daemon.delivery.window import Window


def full_round(window: Window, now: float, seconds: float, *, pressed: bool = False) -> float:
    """As many sends as may be under way, all of which take `seconds`; when they have ended."""
    count = 0
    while window.free:
        window.start()
        count += 1
    now += seconds
    for _ in range(count):
        window.end()
        window.measured(now, seconds, pressed=pressed)
    return now


def test_strict_order_has_one_send_under_way_however_well_it_goes():
    window, now = Window(1), 0.0
    for _ in range(50):
        now = full_round(window, now, 0.1)
    assert window.limit == 1


def test_it_grows_by_one_a_round_trip_while_the_sink_keeps_pace():
    window, now, limits = Window(16), 0.0, []
    for _ in range(12):
        now = full_round(window, now, 0.125)
        limits.append(window.limit)
    assert limits == list(range(2, 14))


def test_it_does_not_grow_while_nobody_needs_more():
    window = Window(16)
    for moment in range(1, 20):
        window.start()
        if window.limit > 1:
            assert window.free
        window.end()
        window.measured(moment, 0.1, pressed=False)
    assert window.limit == 2


def test_it_shrinks_by_a_tenth_a_round_trip_under_pressure_down_to_one():
    window, now = Window(10), 0.0
    while window.limit < 10:
        now = full_round(window, now, 0.1)
    limits = []
    for _ in range(25):
        now = full_round(window, now, 0.1, pressed=True)
        limits.append(window.limit)
    assert limits[:3] == [9, 8, 7]
    assert limits[-1] == 1
    assert sorted(limits, reverse=True) == limits


def test_one_bad_answer_of_a_round_counts_once():
    window, now = Window(10), 0.0
    while window.limit < 10:
        now = full_round(window, now, 0.1)
    now += 0.1
    window.measured(now, 0.1, pressed=True)
    for _ in range(9):
        window.measured(now, 0.1, pressed=True)
    assert window.limit == 9


@given(
    most=st.integers(1, 20),
    measures=st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=60),
)
def test_it_never_allows_less_than_one_nor_more_than_the_most(
    most: int, measures: list[tuple[float, bool]]
):
    window, now = Window(most), 0.0
    for seconds, pressed in measures:
        now = full_round(window, now, seconds, pressed=pressed)
        assert 1 <= window.limit <= most
        assert window.under_way == 0


class Simulated:
    """A sink that works on `best` sends at once; more wait in line."""

    def __init__(self, best: int, seconds: float) -> None:
        self.best, self.seconds = best, seconds
        self.workers = [0.0] * best

    def end_of(self, now: float) -> float:
        """When a send that comes now ends."""
        free = heapq.heappop(self.workers)
        end = max(free, now) + self.seconds
        heapq.heappush(self.workers, end)
        return end


@pytest.mark.parametrize("best", [1, 4, 10])
def test_it_finds_the_concurrency_at_which_the_sink_works_best(best: int):
    """Within two round trips for each place; and from then on it stays near it."""
    sink, window, now = Simulated(best, 0.25), Window(32), 0.0
    flights: list[tuple[float, float]] = []
    limits: list[tuple[float, int]] = []
    while now < 60 * 0.25:
        while window.free:
            window.start()
            heapq.heappush(flights, (sink.end_of(now), now))
        now, began = heapq.heappop(flights)
        window.end()
        window.measured(now, now - began, pressed=False)
        limits.append((now, window.limit))
    reached = next(at for at, limit in limits if limit >= best)
    assert reached <= 2 * best * 0.25
    later = [limit for at, limit in limits if at > reached]
    assert best <= min(later)
    assert max(later) <= best + 2
