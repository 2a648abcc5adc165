"""The sliding windows, as such and under random traffic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.sinks.powerbi.emulator.windows import Window

arrivals = st.lists(
    st.tuples(st.floats(0, 30, allow_subnormal=False), st.integers(1, 8)), max_size=80
)


@given(arrivals, st.integers(1, 20), st.floats(0.1, 60))
def test_no_stretch_of_time_ever_holds_more_than_the_quota(
    steps: list[tuple[float, int]], quota: int, length: float
):
    window = Window(quota, length)
    now = 0.0
    passed = []
    for step, amount in steps:
        now += step
        if window.wait(now, amount) == 0:
            window.add(now, amount)
            passed.append((now, amount))
    for start, _ in passed:
        assert sum(amount for at, amount in passed if start <= at < start + length) <= quota


@given(arrivals, st.integers(8, 20), st.integers(1, 60))
def test_who_waits_as_long_as_told_is_let_in_and_not_before(
    steps: list[tuple[float, int]], quota: int, length: float
):
    # Quarter seconds are exact in floating point: so is the moment when a place comes free.
    window = Window(quota, length)
    now = 0.0
    for step, amount in steps:
        now += round(step * 4) / 4
        wait = window.wait(now, amount)
        if wait:
            assert window.wait(now + wait - 0.125, amount) > 0
            now += wait
        assert window.wait(now, amount) == 0
        window.add(now, amount)


def test_more_than_the_quota_never_passes():
    window = Window(5, 60)
    assert window.wait(0, 6) == 60
    window.add(0, 5)
    assert window.wait(30, 6) == 60


def test_a_quota_of_zero_is_no_limit():
    window = Window(0, 60)
    window.add(0, 10**9)
    assert window.wait(0, 10**9) == 0


@pytest.mark.parametrize(("now", "wait"), [(0, 60), (59, 1), (60, 0)])
def test_a_place_is_free_again_when_the_length_is_over(now: int, wait: int):
    window = Window(1, 60)
    window.add(0)
    assert window.wait(now) == wait
