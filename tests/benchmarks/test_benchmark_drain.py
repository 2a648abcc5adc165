import pytest
from benchmarks.drain import small_bodies


@pytest.mark.parametrize("events", [1, 64, 1000])
def test_bodies_of_slow_traffic_hold_exactly_as_many_events_as_are_waited_for(events: int) -> None:
    sizes = [body.count(b"\n") + 1 for body in small_bodies(events, 64)]
    assert sum(sizes) == events
    assert min(sizes) >= 1
    assert max(sizes) <= 64


def test_slow_traffic_comes_in_commits_of_many_sizes() -> None:
    sizes = {body.count(b"\n") + 1 for body in small_bodies(20_000, 64)}
    assert len(sizes) > 50
