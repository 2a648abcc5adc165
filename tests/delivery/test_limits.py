"""The sink's documented limits: whoever counts on the other side never counts more."""

import json
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.daemon.delivery.limits import Quotas, Usage
from forebay.sinks import Quota, Unit

WALL = 1_700_000_000.0
TICK = 1e-5
"""What seconds since the epoch lose as a float."""


@dataclass
class Send:
    start: float
    end: float
    amount: int


class Process:
    """What starts sends when the quota lets it; it dies with what is under way."""

    def __init__(self, most: int, per: float) -> None:
        self.most, self.per = most, per
        self.quotas = quotas(most, per)
        self.now = 0.0
        """Monotonic; `epoch` is when it began, in the time of the other side."""
        self.epoch = 0.0
        self.flying: list[Send] = []
        self.sends: list[Send] = []

    def send(self, amount: int, takes: float) -> None:
        for _ in range(1000):
            self._end_what_is_over()
            if (wait := self.quotas.wait(self.now, amount, 0)) == 0:
                break
            self.now = min([self.now + wait, *(send.end for send in self.flying)])
        else:
            raise AssertionError("it never let the send through")
        self.quotas.start(amount)
        self.flying.append(Send(self.now, self.now + takes, amount))

    def _end_what_is_over(self) -> None:
        for send in sorted(self.flying, key=lambda send: send.end):
            if send.end <= self.now:
                self.quotas.end(send.end, send.amount)
                self.flying.remove(send)
                self._keep(send, send.end)

    def _keep(self, send: Send, end: float) -> None:
        self.sends.append(Send(self.epoch + send.start, self.epoch + end, send.amount))

    def restart(self) -> None:
        self._end_what_is_over()
        saved = json.loads(json.dumps(self.quotas.to_json(self.now, self.wall)))
        for send in self.flying:
            self._keep(send, self.now)
        self.flying = []
        self.epoch, self.now = self.epoch + self.now - 5.0, 5.0
        self.quotas = quotas(self.most, self.per)
        self.quotas.restore(saved, self.now, self.wall)

    @property
    def wall(self) -> float:
        return WALL + self.epoch + self.now


def quotas(amount: int, per: float, *, from_delivered: int = 0) -> Quotas:
    return Quotas.of([Quota("q", Unit.EVENTS, amount, per, from_delivered)])


attempts = st.lists(
    st.tuples(
        st.floats(0, 20),  # from the last attempt to this one
        st.floats(0, 15),  # how long the send takes
        st.integers(1, 5),  # events
        st.booleans(),  # the process restarts before
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(attempts=attempts, per=st.sampled_from((1.0, 7.0, 60.0)), most=st.integers(5, 12))
def test_no_window_of_the_other_side_ever_counts_more_than_the_quota(
    attempts: list[tuple[float, float, int, bool]], per: float, most: int
):
    """Wherever between its start and its end the other side counts a send; also over restarts."""
    process = Process(most, per)
    for pause, takes, amount, restarts in attempts:
        process.now += pause
        if restarts:
            process.restart()
        process.send(amount, takes)
    process.restart()
    for first in process.sends:
        end = first.end + per - TICK
        within = [s for s in process.sends if s.end >= first.end and s.start < end]
        assert sum(send.amount for send in within) <= most, within


def test_the_whole_quota_is_usable():
    found = quotas(3, 60.0)
    for _ in range(3):
        assert found.wait(100, 1, 0) == 0
        found.start(1)
        found.end(100, 1)
    assert 60 <= found.wait(100, 1, 0) <= 60.5
    assert found.wait(160.5, 3, 0) == 0


def test_a_send_that_travels_for_long_counts_until_a_window_after_its_end():
    found = quotas(1, 60.0)
    found.start(1)
    assert found.wait(1000, 1, 0) == float("inf")
    found.end(1000, 1)
    assert found.wait(1000, 1, 0) >= 60


def test_a_crash_in_the_middle_of_a_send_does_not_forget_it():
    before, after = quotas(1, 60.0), quotas(1, 60.0)
    before.start(1)
    after.restore(before.to_json(100, WALL), 5, WALL + 1)
    assert 59 <= after.wait(5, 1, 0) <= 60


def test_a_wall_clock_that_jumped_back_does_not_block_for_ever():
    before, after = quotas(5, 60.0), quotas(5, 60.0)
    before.start(5)
    before.end(100, 5)
    after.restore(before.to_json(100, WALL), 0, WALL - 365 * 86400)
    assert 60 <= after.wait(0, 5, 0) <= 61


def test_windows_of_long_ago_are_forgotten():
    before, after = quotas(5, 60.0), quotas(5, 60.0)
    before.start(5)
    before.end(100, 5)
    after.restore(before.to_json(100, WALL), 0, WALL + 61)
    assert after.wait(0, 5, 0) == 0


def test_a_quota_for_large_tables_applies_from_there_on_and_counts_from_the_start():
    found = quotas(1, 3600.0, from_delivered=250_000)
    assert found.wait(0, 1, 249_999) == 0
    found.start(1)
    found.end(0, 1)
    assert found.wait(0, 1, 249_999) == 0
    assert found.wait(0, 1, 250_000) >= 3600


def test_a_quota_that_was_lowered_below_a_waiting_batch_does_not_wedge_it():
    """It goes alone, once nothing else counts."""
    found = quotas(10, 60.0)
    assert found.wait(0, 25, 0) == 0
    found.start(25)
    found.end(0, 25)
    assert 60 <= found.wait(0, 25, 0) < 61
    assert found.wait(61, 25, 0) == 0


def test_requests_and_events_are_counted_apart():
    found = Quotas.of(
        [Quota("posts", Unit.REQUESTS, 2, 60.0), Quota("rows", Unit.EVENTS, 1000, 3600.0)]
    )
    found.start(400)
    found.end(0, 400)
    assert found.wait(0, 600, 0) == 0
    assert found.wait(0, 601, 0) >= 3600
    found.start(1)
    found.end(0, 1)
    assert 60 <= found.wait(0, 1, 0) < 3600


@given(ends=st.lists(st.floats(0, 5), max_size=500))
def test_what_is_kept_is_bounded(ends: list[float]):
    usage, now = Usage(Quota("q", Unit.REQUESTS, 10**9, 60.0)), 0.0
    for pause in ends:
        now += pause
        usage.start(1)
        usage.end(now, 1)
        usage.wait(now, 1)
    assert len(usage.entries(now)) <= 122
