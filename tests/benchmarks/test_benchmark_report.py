import json
from pathlib import Path

import pytest
from benchmarks.report import Row, Target, keep, show

PAIRED = Row("posts", "requests/s", [20.0, 90.0, 30.0], "no-op", [10.0, 30.0, 30.0])


def test_a_round_is_compared_with_its_own_pair_and_not_with_a_luckier_one():
    assert PAIRED.ratios == [2.0, 3.0, 1.0]
    assert PAIRED.ratio == 2.0  # the medians of both sides, 30 and 30, would say 1
    assert PAIRED.spread == 3.0


def test_a_round_without_its_pair_is_not_left_out_in_silence():
    with pytest.raises(ValueError, match="zip"):
        _ = Row("posts", "requests/s", [20.0, 90.0], "no-op", [10.0]).ratio


def test_without_something_beside_it_the_spread_is_of_the_figures():
    row = Row("answers", "ms", [4.0, 2.0, 3.0])
    assert (row.figure, row.ratio, row.spread) == (3.0, None, 2.0)


@pytest.mark.parametrize(
    ("target", "met"),
    [
        (Target(at_least=2.0), True),
        (Target(at_least=2.1), False),
        (Target(at_most=1.9), False),
        (Target(at_most=30.0, of_figure=True), True),
        (Target(at_most=29.0, of_figure=True), False),
        (None, None),
    ],
)
def test_a_target_is_held_against_what_it_speaks_of(target: Target | None, met: bool | None):
    assert Row("", "", PAIRED.ours, "", PAIRED.theirs, target).met is met


@pytest.mark.parametrize(("figure", "met"), [(4.9, True), (5.1, False)])
def test_a_target_without_a_ratio_is_held_against_the_figure(figure: float, met: bool):
    assert Row("answer p99", "ms", [figure], target=Target(at_most=5.0)).met is met


def test_a_missed_target_shows_in_the_table(capsys: pytest.CaptureFixture[str]):
    missed = Row("posts", "requests/s", [1.0], "no-op", [2.0], Target(at_least=2.0), 512, "slow")
    show([missed], "ext4, fsync")
    printed = capsys.readouterr().out
    cells = [cell.strip() for cell in next(
        line for line in printed.splitlines() if "no-op" in line
    ).split("│")[1:-1]]  # fmt: skip
    assert cells == ["posts", "1 requests/s", "no-op", "2 requests/s", "0.50", "", "≥ 2 ✗", "512"]
    assert "posts: slow" in printed


def test_the_json_keeps_every_round_and_where_it_was_measured(tmp_path: Path):
    keep([PAIRED], {"file_system": "ext4"}, tmp_path / "bench.json")
    kept = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert kept["machine"] == {"file_system": "ext4"}
    (row,) = kept["rows"]
    assert (row["rounds"], row["their_rounds"]) == ([20.0, 90.0, 30.0], [10.0, 30.0, 30.0])
    assert (row["ratio"], row["spread"], row["met"]) == (2.0, 3.0, None)
