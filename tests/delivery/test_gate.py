"""The gate: all obstacles in one row, one gate for all sends of a sink."""

from datetime import timedelta
from math import inf

import pytest
from delivery_kit import in_turn
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forebay.daemon.delivery.gate import Gate, Reason, Wait
from forebay.daemon.delivery.options import BreakerOptions, RetryOptions
from forebay.sinks import Limits, Quota, Retry, Unit

OPEN_FOR = 30.0


def gate(
    *, failures: int = 3, random: float = 0.5, pending: int | None = None, quota: int | None = None
) -> Gate:
    quotas = (Quota("q", Unit.EVENTS, quota, 60.0),) if quota else ()
    return Gate(
        RetryOptions(base=timedelta(seconds=2), cap=timedelta(seconds=8)),
        BreakerOptions(
            failures=failures,
            open_for=timedelta(seconds=OPEN_FOR),
            open_cap=timedelta(seconds=120),
        ),
        Limits(pending=pending, quotas=quotas),
        in_turn(random),
    )


def attempt(found: Gate, now: float, answer: Retry | str | None = None) -> None:
    """One send, from its start to what its answer means."""
    assert found.wait(now) is None
    found.start(1)
    found.ended(now, 1)
    match answer:
        case None:
            found.taken()
        case "hold":
            found.held(now)
        case _:
            found.retry(now, answer, 1)


def test_nothing_stands_in_the_way_at_first():
    assert gate().wait(0) is None
    assert gate().reason(0) is None


def test_a_pause_stops_everything_until_resume():
    found = gate()
    found.paused = True
    assert found.wait(0) == found.reason(0) == Wait(inf, Reason.PAUSED)
    found.probe(0)
    assert found.wait(0) == Wait(inf, Reason.PAUSED)
    found.paused = False
    assert found.wait(0) is None


def test_a_failure_backs_off_at_random():
    found = gate(random=0.25)
    attempt(found, 100, Retry("no"))
    assert found.wait(100) == Wait(0.5, Reason.RETRYING)
    assert found.wait(100.5) is None


def test_the_sink_waits_exactly_as_long_as_it_asked_for():
    found = gate()
    attempt(found, 100, Retry("no", after=3600, throttled=True))
    assert found.wait(100) == Wait(3600, Reason.THROTTLED)
    assert found.wait(3699) == Wait(1, Reason.THROTTLED)
    assert found.wait(3700) is None


@pytest.mark.parametrize("after", [0, 0.0, -5])
def test_asking_for_no_patience_at_all_does_not_make_us_hammer_the_sink(after: float):
    """`429` with `Retry-After: 0`, as some gateways answer, is throttling without a time."""
    found = gate(random=0.5)
    attempt(found, 100, Retry("slow down", after=after, throttled=True))
    assert found.wait(100) == Wait(1, Reason.RETRYING)


def test_throttling_does_not_open_the_breaker():
    found, now = gate(failures=2), 0.0
    for _ in range(10):
        attempt(found, now, Retry("slow down", after=1, throttled=True))
        now += 1
    assert found.wait(now) is None
    assert found.closed


def test_failures_open_the_breaker_and_success_closes_it():
    found = gate(failures=2, random=0)
    attempt(found, 0, Retry("no"))
    attempt(found, 0, Retry("no"))
    assert found.wait(0) == Wait(OPEN_FOR, Reason.OPEN)
    attempt(found, OPEN_FOR)
    assert found.wait(OPEN_FOR) is found.reason(OPEN_FOR) is None


def test_a_hold_probes_slowly_and_does_not_count_for_the_breaker():
    found, now, waits = gate(failures=1), 0.0, []
    for _ in range(4):
        attempt(found, now, "hold")
        wait = found.wait(now)
        assert wait is not None
        assert wait.reason is Reason.HELD
        waits.append(wait.seconds)
        now += wait.seconds
    assert waits == [30, 60, 120, 120]
    assert repr(found).startswith("<Gate <Breaker closed")
    attempt(found, now)
    assert found.wait(now) is None


def test_a_probe_goes_now_whatever_holds():
    for answer in ("hold", Retry("no"), Retry("no", after=3600, throttled=True)):
        found = gate(failures=1)
        attempt(found, 0, answer)
        assert found.wait(1) is not None
        found.probe(1)
        assert found.wait(1) is None
        found.start(1)
        assert found.wait(1) is not None, "one, not many"


@pytest.mark.parametrize("answer", ["hold", Retry("no"), Retry("no", after=1, throttled=True)])
def test_while_it_fails_only_one_of_many_tries(answer: Retry | str):
    found = gate(failures=100, random=0)
    for _ in range(3):
        found.start(1)
    found.ended(0, 1)
    if isinstance(answer, Retry):
        found.retry(0, answer, 1)
    else:
        found.held(0)
    late = found.wait(1000)
    assert late is not None, "two of the three are still under way"
    found.ended(1000, 1)
    found.ended(1000, 1)
    assert found.wait(1000) is None
    found.start(1)
    waiting = found.wait(1000)
    assert waiting is not None
    assert waiting.seconds == inf
    found.ended(1001, 1)
    found.taken()
    assert found.wait(1001) is None


def test_a_send_that_was_cut_off_leaves_the_next_one_to_probe():
    found = gate(failures=1)
    attempt(found, 0, Retry("no"))
    found.start(1)
    found.ended(50, 1)
    found.cancelled(50)
    assert found.wait(50) is None


def test_pending_sends_and_quotas_are_kept():
    found = gate(pending=2, quota=10)
    assert found.wait(0, 4) is None
    found.start(4)
    assert found.wait(0, 4) is None
    found.start(4)
    assert found.wait(0, 1) == Wait(inf, Reason.THROTTLED)
    found.ended(0, 4)
    found.ended(0, 4)
    assert found.wait(0, 2) is None
    wait = found.wait(0, 3)
    assert wait is not None
    assert wait.reason is Reason.THROTTLED
    assert 60 <= wait.seconds < 61


def test_the_first_obstacle_tells_and_each_that_goes_shows_the_next():
    found = gate(failures=1, quota=1)
    found.quotas.usages[0].restore(300, 1)  # a minute's quota: until 360
    found.retry(199.5, Retry("no", throttled=True), 1)  # until 200.5
    found.retry(0, Retry("no", after=200), 1)  # until 200; and opens the breaker until 30
    found.hold.failed(-20)  # until 10
    found.paused = True
    seen = []
    for now in (0, 0, 10, 30, 200, 201, 360):
        wait = found.wait(now)
        seen.append(None if wait is None else (wait.reason, now + wait.seconds))
        found.paused = False
    assert seen == [
        (Reason.PAUSED, inf),
        (Reason.HELD, 10),
        (Reason.OPEN, 30),
        (Reason.THROTTLED, 200),
        (Reason.RETRYING, 200.5),
        (Reason.THROTTLED, 360),
        None,
    ]


def test_a_person_sees_why_also_while_the_one_send_is_going():
    found = gate(failures=1, random=0)
    attempt(found, 0, Retry("no"))
    assert found.reason(0) == Wait(OPEN_FOR, Reason.OPEN)
    found.start(1)
    assert found.reason(0) == Wait(inf, Reason.OPEN)

    found = gate(random=0)
    attempt(found, 0, Retry("no"))
    found.start(1)
    assert found.reason(0) == Wait(inf, Reason.RETRYING)

    found = gate()
    attempt(found, 0, "hold")
    found.start(1)
    assert found.reason(0) == Wait(inf, Reason.HELD)

    found = gate()
    attempt(found, 0, Retry("no", after=60, throttled=True))
    assert found.reason(0) == Wait(60, Reason.THROTTLED)


def test_a_person_sees_that_the_waiting_batch_is_throttled_though_a_smaller_one_would_not():
    found = gate(quota=10)
    found.start(6)
    found.ended(0, 6)
    assert found.wait(0, 6) is not None
    reason = found.reason(0)
    assert reason is not None
    assert reason.reason is Reason.THROTTLED


def test_a_sink_for_which_nothing_waits_is_not_throttled():
    found = gate(quota=1)
    attempt(found, 0)
    assert found.reason(0) is None


class GateMachine(RuleBasedStateMachine):
    """Many sends share the gate; answers come in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = gate(failures=2, random=0.5, pending=6)
        self.now = 0.0
        self.under_way = 0
        self.troubled = False
        """The last answer that said anything was not a good one."""

    @rule(seconds=st.sampled_from((0.0, 0.5, 4.0, 31.0, 130.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.gate.wait(self.now) is None)
    @rule()
    def start(self) -> None:
        assert not (self.troubled and self.under_way), "two at once, though it fails"
        self.gate.start(1)
        self.under_way += 1

    @precondition(lambda self: self.under_way)
    @rule(how=st.sampled_from(("taken", "retry", "throttled", "hold", "cancelled")))
    def end(self, how: str) -> None:
        self.under_way -= 1
        self.gate.ended(self.now, 1)
        match how:
            case "taken":
                self.gate.taken()
                self.troubled = False
            case "retry":
                self.gate.retry(self.now, Retry("no"), 1)
            case "throttled":
                self.gate.retry(self.now, Retry("no", after=1, throttled=True), 1)
            case "hold":
                self.gate.held(self.now)
            case "cancelled":
                self.gate.cancelled(self.now)
        self.troubled = self.troubled or how in {"retry", "throttled", "hold"}

    @rule()
    def probe(self) -> None:
        self.gate.probe(self.now)

    @invariant()
    def it_is_never_stuck(self) -> None:
        wait = self.gate.wait(self.now)
        if not self.under_way:
            assert wait is None or wait.seconds <= 120


TestGateMachine = GateMachine.TestCase
TestGateMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
