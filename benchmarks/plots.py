"""Plots as SVG, the same bytes for the same figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Line:
    """One curve: values over something."""

    name: str
    over: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `what` has the unit."""

    what: str
    lines: Sequence[Line]


def draw(path: Path, over: str, *panels: Panel, log: bool = True) -> None:
    """Panels side by side over the same thing; logarithmic on both axes, or linear from zero."""
    # Not at the top: nothing else here needs matplotlib.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    # Identifiers in the file come from the salt, not from chance.
    with mpl.rc_context({"svg.hashsalt": path.stem, "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(5 * len(panels), 3.6), layout="constrained")
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(row, panels, strict=True):
            _fill(axes, panel, log=log)
            axes.set(xlabel=over, ylabel=panel.what)
        legend = row[0].get_legend_handles_labels()
        figure.legend(*legend, loc="outside lower center", ncols=2, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None, "Creator": None})


def _fill(axes: "Axes", panel: Panel, *, log: bool) -> None:
    for line in panel.lines:
        axes.plot(line.over, line.values, marker="o", markersize=4, label=line.name)
    if log:
        axes.set(xscale="log", yscale="log")
        axes.set_xticks(list(panel.lines[0].over), minor=False)
        axes.set_xticks([], minor=True)
        axes.yaxis.set_minor_formatter(lambda value, _: _short(value, (2, 5)))
        axes.tick_params(axis="y", which="minor", labelsize=8, labelcolor="0.4")
    else:
        axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _short(value))
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _short(value: float, digits: Sequence[int] | None = None) -> str:
    """10k, 1.5M; with `digits`, nothing for numbers that begin otherwise."""
    if digits is not None and f"{value:e}"[0] not in map(str, digits):
        return ""
    for size, suffix in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"
