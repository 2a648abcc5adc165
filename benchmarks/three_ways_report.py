"""What the three ways came to: rows for the table of figures, and the table of the README."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.load import Latencies
from benchmarks.report import Row, Target
from benchmarks.users import Answer

WAYS = "dual", "queue", "forebay"
KILLED_TOO = "forebay-killed-too"
NAMES = {"dual": "dual write", "queue": "queue and thread"}
PER_SECOND = 50.0
KILLS = 5
DOWN = 5.5
"""Seconds that the API is down: longer than anybody's time-out of 5 s."""
_IN_BOTH = "the application's own commit, 2 to 5 ms, is in both; API of 250 ms"


@dataclass(frozen=True)
class Outcome:
    """What users were told, what the API took, and what the application's own database holds."""

    answers: Sequence[Answer]
    taken: frozenset[str]
    booked: frozenset[str]
    repeated: int = 0
    """How often the API got one of these bookings that it had already."""

    @property
    def confirmed(self) -> frozenset[str]:
        """Users were told that these are booked."""
        return frozenset(answer.booking for answer in self.answers if answer.status == 200)

    @property
    def missing(self) -> int:
        """Confirmed, and never on the dashboard."""
        return len(self.confirmed - self.taken)

    @property
    def unheard(self) -> int:
        """Booked and never on the dashboard, but then their users were not told either."""
        wanted = frozenset(answer.booking for answer in self.answers)
        return len((self.booked & wanted) - self.confirmed - self.taken)

    @property
    def errors(self) -> int:
        """Users who were told of an error, or nothing."""
        return len(self.answers) - len(self.confirmed)

    def quantile(self, share: float) -> float:
        """Of how long the answers took, in milliseconds."""
        return Latencies(tuple(answer.seconds for answer in self.answers)).quantile(share) * 1000


@dataclass(frozen=True)
class Findings:
    """Of one run; keys are the ways."""

    steady: Mapping[str, Sequence[Outcome]]
    requests: Mapping[str, int]
    """That the API had in the steady rounds."""
    kills: Mapping[str, Sequence[Outcome]]
    outages: Mapping[str, Mapping[str, Outcome]]
    """Keys: how the API was down, `hang` or `refuse`; then the way."""

    def quantiles(self, way: str, share: float) -> list[float]:
        """Round by round, in milliseconds."""
        return [outcome.quantile(share) for outcome in self.steady[way]]

    def requests_per_1000(self, way: str) -> float:
        """Requests to the API for 1000 bookings."""
        return self.requests[way] / sum(len(one.answers) for one in self.steady[way]) * 1000

    def killed(self, way: str) -> int:
        """Confirmed and missing, all kills together."""
        return sum(outcome.missing for outcome in self.kills[way])

    def unheard(self, way: str) -> int:
        """Booked, neither confirmed nor on the dashboard, all kills together."""
        return sum(outcome.unheard for outcome in self.kills[way])

    def repeated(self, way: str) -> int:
        """Bookings that the API got twice, all kills together."""
        return sum(outcome.repeated for outcome in self.kills[way])


# ── the README's table ───────────────────────────────────────────────────────────────────────


def markdown(found: Findings) -> str:
    """The three ways side by side."""
    lines = [
        "| | dual write | queue and thread | forebay |",
        "|---|--:|--:|--:|",
        _line("the user's answer, p50", [_ms(median(found.quantiles(way, 0.5))) for way in WAYS]),
        _line("the user's answer, p99", [_ms(median(found.quantiles(way, 0.99))) for way in WAYS]),
        _line(
            "requests to the API for 1000 bookings",
            [f"{found.requests_per_1000(way):,.0f}" for way in WAYS],
        ),
        _line(
            f"application killed {KILLS} times: confirmed, never on the dashboard",
            [str(found.killed(way)) for way in WAYS],
        ),
        _line("… and forebay killed with it", ["", "", str(found.killed(KILLED_TOO))]),
    ]
    for how, told in (("hang", "hangs"), ("refuse", "refuses connections")):
        outcomes = [found.outages[how][way] for way in WAYS]
        lost = f"API {told} for {DOWN:g} s: confirmed, never on the dashboard"
        lines += [
            _line(lost, [str(outcome.missing) for outcome in outcomes]),
            _line("… the user's answer, p99", [_ms(one.quantile(0.99)) for one in outcomes]),
        ]
    return "\n".join(lines) + "\n"


def _line(what: str, cells: Sequence[str]) -> str:
    return f"| {what} | {' | '.join(cells)} |"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms" if milliseconds >= 20 else f"{milliseconds:.1f} ms"


# ── the table of figures ─────────────────────────────────────────────────────────────────────


def rows(found: Findings) -> list[Row]:
    """forebay beside each of the others."""
    return [
        *(
            _answers(found, other, name, share)
            for other in NAMES
            for name, share in (("p50", 0.5), ("p99", 0.99))
        ),
        _requests(found),
        *_killed(found),
        *(row for how in found.outages for row in _down(found, how)),
    ]


def _answers(found: Findings, other: str, name: str, share: float) -> Row:
    return Row(
        f"three ways: booking confirmed, {name}, {PER_SECOND:g} bookings/s",
        "ms",
        found.quantiles("forebay", share),
        NAMES[other],
        found.quantiles(other, share),
        Target(at_most=0.5) if other == "dual" else None,
        note=_IN_BOTH if (other, name) == ("dual", "p50") else "",
    )


def _requests(found: Findings) -> Row:
    ours, dual = found.requests_per_1000("forebay"), found.requests_per_1000("dual")
    note = f"queue and thread: {found.requests_per_1000('queue'):.1f}"
    what = "three ways: requests to the API for 1000 bookings"
    return Row(what, "requests", [ours], NAMES["dual"], [dual], Target(at_most=0.1), note=note)


def _killed(found: Findings) -> list[Row]:
    queue = found.killed("queue")
    told = f"queue and thread: {found.unheard('queue')}; dual write: {found.unheard('dual')}, "
    told += f"and {found.killed('dual')} that were confirmed"
    return [
        _none_missing(
            f"{what} killed {KILLS} times", found.killed(way), "queue", queue,
            f"sent twice: {found.repeated(way)}. Booked, but neither the user nor the dashboard "
            f"was told: {found.unheard(way)} ({told})",
        )
        for way, what in (("forebay", "application"), (KILLED_TOO, "application and forebay"))
    ]  # fmt: skip


def _down(found: Findings, how: str) -> list[Row]:
    outage = found.outages[how]
    when = f"API down for {DOWN:g} s ({how})"
    errors = ", ".join(f"{way} {outage[way].errors}" for way in WAYS)
    return [
        Row(
            f"three ways: booking confirmed, p99, {when}",
            "ms",
            [outage["forebay"].quantile(0.99)],
            NAMES["dual"],
            [outage["dual"].quantile(0.99)],
            note=f"queue and thread: {_ms(outage['queue'].quantile(0.99))}; "
            f"errors that users saw: {errors}",
        ),
        *(
            _none_missing(when, outage["forebay"].missing, other, outage[other].missing)
            for other in NAMES
        ),
    ]


def _none_missing(when: str, ours: int, other: str, theirs: int, note: str = "") -> Row:
    return Row(
        f"three ways: confirmed, never on the dashboard, {when}", "bookings",
        [ours], NAMES[other], [theirs] if theirs else [], Target(at_most=0, of_figure=True),
        note=note,
    )  # fmt: skip
