"""The table in the documents is the one that was measured."""

from pathlib import Path

import pytest
from benchmarks.document import PAGE, render, update
from benchmarks.report import Row, Target

ROWS = [
    Row("posts", "requests/s", [20.0, 30.0, 40.0], "no-op", [10.0, 15.0, 20.0], Target(2.0), 400),
    Row("disk", "B/event", [26.0], target=Target(at_most=20), note="of random ids"),
]


def test_what_was_missed_is_told_and_what_was_met_is_not():
    table = render(ROWS, {"cores": 2, "file_system": "ext4"})
    assert "Measured on: cores 2, file system ext4." in table
    posts = "| posts | 30 requests/s | no-op | 15 requests/s | 2.00 | 1.00 | ≥ 2 | 400 |\n"
    assert posts in table
    assert "| disk | 26 B/event |  |  |  |  | ≤ 20, missed |  |\n" in table
    assert "- disk: of random ids.\n" in table


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    update(ROWS, {"cores": 2}, page)
    once = page.read_text(encoding="utf-8")
    update(ROWS, {"cores": 2}, page)
    assert page.read_text(encoding="utf-8") == once
    assert once.startswith("# How fast it is")
    assert once.count("| posts |") == 1


def test_a_page_without_marks_is_left_alone(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# Nothing here\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no place"):
        update(ROWS, {}, page)
    assert page.read_text(encoding="utf-8") == "# Nothing here\n"
