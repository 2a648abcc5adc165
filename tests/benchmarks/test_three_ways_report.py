from pathlib import Path

from benchmarks.three_ways_report import KILLED_TOO, WAYS, Findings, Outcome, markdown, rows
from benchmarks.users import Answer

README = Path(__file__).parents[2] / "README.md"


def outcome(taken: str, *, statuses: str = "200 200 503 0", repeated: int = 0) -> Outcome:
    """Of bookings a, b, c, d, of which all but d are booked."""
    answers = [
        Answer(booking, int(status), 0.25)
        for booking, status in zip("abcd", statuses.split(), strict=True)
    ]
    return Outcome(answers, frozenset(taken), frozenset("abc"), repeated)


def findings(ours: str = "ab") -> Findings:
    """The others lose one confirmed booking each time; forebay takes `ours`."""
    of = {"dual": outcome("a"), "queue": outcome("a"), "forebay": outcome(ours)}
    return Findings(
        steady={way: [of[way], of[way]] for way in WAYS},
        requests={"dual": 8, "queue": 2, "forebay": 1},
        kills={way: [of[way]] * 3 for way in WAYS} | {KILLED_TOO: [outcome(ours)] * 3},
        outages={"hang": of, "refuse": of},
    )


def test_only_what_was_confirmed_is_missing():
    assert outcome("ab").missing == 0
    assert outcome("").missing == 2
    assert outcome("cd", statuses="503 200 0 0").missing == 1


def test_what_nobody_was_told_of_is_told_apart():
    found = outcome("a")
    assert (found.missing, found.unheard, found.errors) == (1, 1, 2)
    assert outcome("abc").unheard == 0


def test_a_single_lost_booking_fails_the_target():
    def targets(ours: str) -> set[bool | None]:
        return {row.met for row in rows(findings(ours)) if "never on the dashboard" in row.what}

    assert targets("ab") == {True}
    assert targets("b") == {False}


def test_ways_that_lose_nothing_break_no_ratio():
    of = {way: outcome("ab") for way in WAYS}
    nothing = Findings(
        steady={way: [of[way]] for way in WAYS},
        requests=dict.fromkeys(WAYS, 4),
        kills={way: [outcome("ab")] for way in (*WAYS, KILLED_TOO)},
        outages={"hang": of, "refuse": of},
    )
    assert {row.met for row in rows(nothing) if "never on" in row.what} == {True}


def test_the_table_holds_the_figures():
    table = markdown(findings())
    assert "| requests to the API for 1000 bookings | 1,000 | 250 | 125 |" in table
    assert "confirmed, never on the dashboard | 3 | 3 | 0 |" in table
    assert "| the user's answer, p50 | 250 ms | 250 ms | 250 ms |" in table


def test_the_readme_has_the_lines_that_the_benchmark_writes():
    labels = [line.split(" | ")[0] for line in markdown(findings()).splitlines()]
    text = README.read_text(encoding="utf-8")
    assert [label for label in labels if label not in text] == []
