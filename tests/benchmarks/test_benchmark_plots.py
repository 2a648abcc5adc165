from pathlib import Path

import pytest
from benchmarks.plots import Line, Panel, draw

PANEL = Panel("events/s", [Line("forebay", [1, 64, 512], [3e3, 4e4, 4.1e4])])


@pytest.mark.parametrize("log", [True, False])
def test_the_same_figures_give_the_same_file(tmp_path: Path, log: bool):
    first, again = tmp_path / "a" / "curve.svg", tmp_path / "b" / "curve.svg"
    for path in (first, again):
        draw(path, "connections", PANEL, PANEL, log=log)
    assert first.read_bytes() == again.read_bytes()


def test_axes_and_curves_are_named(tmp_path: Path):
    draw(tmp_path / "curve.svg", "connections", PANEL)
    svg = (tmp_path / "curve.svg").read_text(encoding="utf-8")
    for text in ("connections", "events/s", "forebay", ">64<", ">10k<"):
        assert text in svg
