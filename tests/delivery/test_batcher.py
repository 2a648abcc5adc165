"""When a batch is due."""

from datetime import timedelta
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ByteSize

from forebay.daemon.delivery.batcher import Batcher
from forebay.daemon.delivery.options import BatchOptions

LINGER = 2.0


def batcher(events: int = 10, size: int = 1000) -> Batcher:
    return Batcher(
        BatchOptions(max_events=events, max_bytes=ByteSize(size), linger=timedelta(seconds=LINGER))
    )


def test_nothing_is_due_while_nothing_waits():
    assert batcher().wait(0) == inf


def test_the_last_event_of_a_burst_does_not_wait_for_the_next_one():
    """Linger counts from the first event, and late company does not prolong it."""
    found = batcher()
    found.arrived(1, 10, at=100)
    found.arrived(1, 10, at=101.5)
    assert found.wait(101.5) == 0.5
    assert found.wait(102) == found.wait(500) == 0


def test_a_full_batch_does_not_wait():
    by_count, by_size = batcher(events=3), batcher(size=30)
    by_count.arrived(3, 3, at=100)
    by_size.arrived(1, 30, at=100)
    assert by_count.wait(100) == by_size.wait(100) == 0


def test_what_is_left_over_lingers_from_its_own_first_event():
    found = batcher()
    found.arrived(4, 40, at=100)
    found.arrived(4, 40, at=101)
    found.taken(4, 43)
    assert (found.since, found.wait(102)) == (101, 1)


def test_events_of_an_earlier_process_are_due_at_once():
    found = batcher()
    found.arrived(5, 0, at=-inf)
    assert found.wait(0) == 0
    found.taken(5, 400)
    assert found.wait(0) == inf


def test_what_waits_is_bounded_in_memory_and_never_becomes_due_later_than_it_is():
    found = batcher(events=10**9, size=10**9)
    for moment in range(10_000):
        found.arrived(1, 1, at=float(moment))
    assert len(found._arrivals) <= 256
    assert found.since == 0
    found.taken(9_999, 9_999)
    assert (found.since, found.wait(9_999)) == (9_999, LINGER)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 12), st.integers(1, 400)),
        st.tuples(st.just("pass"), st.floats(0, 3)),
        st.tuples(st.just("take"), st.integers(1, 15)),
        st.just(("forget",)),
    ),
    max_size=40,
)


@given(steps=steps)
def test_it_counts_like_a_plain_list_of_events(steps: list[tuple]):
    found, now = batcher(), 100.0
    waiting: list[tuple[float, int]] = []
    for step in steps:
        match step:
            case "arrive", events, size:
                found.arrived(events, events * size, now)
                waiting += [(now, size)] * events
            case "pass", seconds:
                now += seconds
            case "take", events:
                taken, waiting = waiting[:events], waiting[events:]
                found.taken(len(taken), sum(size for _, size in taken))
            case _:
                found.forget()
                waiting = []
        assert found.since == (waiting[0][0] if waiting else None)
        assert found.wait(now) == _wait(waiting, now)


def _wait(waiting: list[tuple[float, int]], now: float) -> float:
    if not waiting:
        return inf
    if len(waiting) >= 10 or sum(size for _, size in waiting) >= 1000:
        return 0
    return max(waiting[0][0] + LINGER - now, 0)
