"""The breaker's states, and that an open one lets a single probe through."""

from collections.abc import Callable
from datetime import timedelta
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forebay.daemon.delivery.breaker import Breaker, State

FAILURES, OPEN_FOR, OPEN_CAP = 3, 30.0, 100.0


def breaker(failures: int = FAILURES) -> Breaker:
    return Breaker(
        failures=failures,
        open_for=timedelta(seconds=OPEN_FOR),
        open_cap=timedelta(seconds=OPEN_CAP),
    )


def opened(at: float = 0.0) -> Breaker:
    found = breaker()
    assert [found.failed(at) for _ in range(FAILURES)] == [False, False, True]
    return found


def half_open(at: float = OPEN_FOR) -> Breaker:
    found = opened()
    found.started()
    assert found.state is State.HALF_OPEN
    return found


def test_it_opens_after_so_many_consecutive_failures_and_no_sooner():
    found = breaker()
    found.failed(0)
    found.failed(0)
    found.succeeded()
    assert [found.failed(1), found.failed(2)] == [False, False]
    assert found.state is State.CLOSED
    assert found.failed(3)
    assert found.state is State.OPEN
    assert found.wait(3) == OPEN_FOR


def test_it_waits_out_its_time_and_then_lets_one_probe_through():
    found = opened(at=5)
    assert [found.wait(5), found.wait(20), found.wait(35), found.wait(99)] == [30, 15, 0, 0]
    found.started()
    assert found.wait(99) == inf


def test_each_failed_probe_doubles_the_time_up_to_the_cap():
    found, now, waits = opened(), 0.0, []
    for _ in range(4):
        waits.append(found.wait(now))
        now += found.wait(now)
        found.started()
        assert not found.failed(now), "a failed probe does not open it anew"
    assert waits == [30, 60, 100, 100]


def test_success_closes_it_and_forgets_the_doubling():
    found = half_open()
    found.failed(30)
    found.started()
    found.succeeded()
    assert found.state is State.CLOSED
    for _ in range(FAILURES):
        found.failed(200)
    assert found.wait(200) == OPEN_FOR


@pytest.mark.parametrize(
    ("state", "call", "after", "wait"),
    [
        (breaker, lambda b: b.started(), State.CLOSED, 0),
        (breaker, lambda b: b.undecided(40), State.CLOSED, 0),
        (breaker, lambda b: b.probe(40), State.CLOSED, 0),
        (breaker, lambda b: b.succeeded(), State.CLOSED, 0),
        (opened, lambda b: b.failed(20), State.OPEN, 0),
        (opened, lambda b: b.undecided(40), State.OPEN, 0),
        (opened, lambda b: b.probe(10), State.OPEN, 0),
        (opened, lambda b: b.succeeded(), State.CLOSED, 0),
        (half_open, lambda b: b.failed(40), State.OPEN, 60),
        (half_open, lambda b: b.undecided(40), State.OPEN, 0),
        (half_open, lambda b: b.probe(40), State.HALF_OPEN, inf),
        (half_open, lambda b: b.succeeded(), State.CLOSED, 0),
    ],
)
def test_every_state_knows_what_to_make_of_every_event(
    state: Callable[[], Breaker], call: Callable[[Breaker], object], after: State, wait: float
):
    found = state()
    call(found)
    assert (found.state, found.wait(40)) == (after, wait)


def test_a_cap_below_the_first_wait_does_not_shorten_it():
    found = Breaker(failures=1, open_for=timedelta(minutes=5), open_cap=timedelta(minutes=1))
    found.failed(0)
    assert found.wait(0) == 300


class BreakerMachine(RuleBasedStateMachine):
    """Whoever asks `wait` before each send, in whatever order the answers come."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = breaker()
        self.now = 0.0
        self.under_way = 0
        self.probing = False
        self.sent_at_open = 0
        self.open_for = OPEN_FOR

    @rule(seconds=st.sampled_from((0.0, 1.0, 29.0, 30.0, 60.0, 100.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.wait(self.now) == 0)
    @rule()
    def start(self) -> None:
        was_open = self.breaker.state is State.OPEN
        assert not self.probing, "a second probe"
        self.breaker.started()
        self.under_way += 1
        self.probing = was_open

    @precondition(lambda self: self.under_way and not self.probing)
    @rule()
    def end_well(self) -> None:
        self.under_way -= 1
        self.breaker.succeeded()
        self.open_for = OPEN_FOR

    @precondition(lambda self: self.under_way and not self.probing)
    @rule()
    def end_badly(self) -> None:
        self.under_way -= 1
        self.breaker.failed(self.now)

    @precondition(lambda self: self.probing)
    @rule(well=st.booleans())
    def end_probe(self, well: bool) -> None:
        self.under_way -= 1
        self.probing = False
        if well:
            self.breaker.succeeded()
            self.open_for = OPEN_FOR
        else:
            self.breaker.failed(self.now)
            self.open_for = min(self.open_for * 2, OPEN_CAP)
            assert self.breaker.wait(self.now) == self.open_for

    @rule()
    def ask_for_a_probe(self) -> None:
        self.breaker.probe(self.now)

    @invariant()
    def a_probe_keeps_the_others_back(self) -> None:
        assert (self.breaker.state is State.HALF_OPEN) == self.probing
        assert (self.breaker.wait(self.now) == inf) == self.probing
        assert self.breaker.wait(self.now) <= OPEN_CAP or self.probing


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
