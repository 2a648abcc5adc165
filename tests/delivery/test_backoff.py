"""The wait after a failure: random, bounded, doubling."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from forebay.daemon.delivery.backoff import Backoff
from forebay.daemon.delivery.options import RetryOptions

ALMOST_ONE = 1 - 2**-53


def backoff(random: float, base: float = 0.5, cap: float = 60) -> Backoff:
    retry = RetryOptions(base=timedelta(seconds=base), cap=timedelta(seconds=cap))
    return Backoff(retry, lambda: random)


def test_the_bound_doubles_with_each_attempt_up_to_the_cap():
    bounds = [backoff(1).seconds(attempt) for attempt in range(1, 11)]
    assert bounds == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_clients_that_failed_together_do_not_come_back_together():
    """Full jitter: all between nothing and the bound is possible."""
    assert [backoff(share).seconds(4) for share in (0, 0.25, 0.5)] == [0, 1, 2]


@given(
    random=st.floats(0, ALMOST_ONE),
    attempt=st.integers(1, 10**9),
    base=st.floats(0.001, 3600),
    cap=st.floats(0.001, 10**6),
)
def test_no_attempt_waits_longer_than_the_cap_nor_overflows(
    random: float, attempt: int, base: float, cap: float
):
    seconds = backoff(random, base, cap).seconds(attempt)
    assert 0 <= seconds <= min(cap, base * 2.0 ** min(attempt - 1, 60)) + 1e-6
