"""Figures as ratios of two things that were measured in turns, in one run."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

Rounds = Sequence[float]


@dataclass(frozen=True)
class Target:
    """What a row shall show: `Target(at_least=2.0)` of its ratio, or of its figure without one."""

    at_least: float | None = None
    at_most: float | None = None
    of_figure: bool = False
    """It is the figure that counts, although there is a ratio."""

    def met(self, value: float) -> bool:
        """Whether a value is within the bounds."""
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        parts = [] if self.at_least is None else [f"≥ {number(self.at_least)}"]
        parts += [] if self.at_most is None else [f"≤ {number(self.at_most)}"]
        return ", ".join(parts)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `ours` has one figure a round; `theirs`, where there is something to compare with, the figure
    of the same round, measured right before or after.
    """

    what: str
    unit: str
    ours: Rounds
    beside: str = ""
    theirs: Rounds = ()
    target: Target | None = None
    written: float | None = None
    """Bytes that the daemon had the disk write, an event (`write_bytes` of /proc/PID/io)."""
    note: str = ""

    @property
    def figure(self) -> float:
        """Ours: the median of the rounds."""
        return median(self.ours)

    @property
    def ratios(self) -> list[float]:
        """Ours by theirs, round by round: what the machine did meanwhile hit both."""
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float | None:
        """The median of the ratios."""
        return median(self.ratios) if self.theirs else None

    @property
    def spread(self) -> float:
        """The largest round by the smallest: of the ratios, or of ours where there are none."""
        values = self.ratios if self.theirs else self.ours
        return max(values) / min(values) if min(values) > 0 else float("inf")

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        ratio = None if self.target.of_figure else self.ratio
        return self.target.met(self.figure if ratio is None else ratio)


def show(rows: Sequence[Row], title: str) -> None:
    """Print the table."""
    table = Table(title=title)
    for heading in ("what", "forebay", "beside", "that", "ratio", "spread", "target", "B written"):
        table.add_column(heading, justify="left" if heading in ("what", "beside") else "right")
    for row in rows:
        table.add_row(*_cells(row))
    Console(width=170).print(table)
    for row in rows:
        if row.note:
            Console(width=170).print(f"{row.what}: {row.note}", markup=False)


def _cells(row: Row) -> list[str]:
    theirs = f"{number(median(row.theirs))} {row.unit}" if row.theirs else ""
    mark = {None: "", True: " ✓", False: " ✗"}[row.met]
    return [
        row.what,
        f"{number(row.figure)} {row.unit}",
        row.beside,
        theirs,
        "" if row.ratio is None else f"{row.ratio:.2f}",
        f"{row.spread:.2f}" if len(row.ours) > 1 else "",
        f"{row.target or ''}{mark}",
        "" if row.written is None else number(row.written),
    ]


def number(value: float) -> str:
    """As people read it: three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine(directory: Path) -> dict[str, Any]:
    """What the figures are going to be measured on: who else is busy there counts too."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": file_system(directory),
        "durability": "fsync",
        "load_before": round(os.getloadavg()[0], 1),
    }


def file_system(directory: Path) -> str:
    """The type of the file system that holds a directory, as /proc/mounts names it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    resolved = directory.resolve()
    holding = [(point, kind) for point, kind in mounts if resolved.is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0]))[1]


def keep(rows: Sequence[Row], where: dict[str, Any], path: Path) -> None:
    """Write everything as JSON."""
    path.parent.mkdir(exist_ok=True)
    found = {"command": " ".join(sys.argv), "machine": where, "rows": [_record(r) for r in rows]}
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _record(row: Row) -> dict[str, Any]:
    return {
        "what": row.what, "unit": row.unit, "figure": row.figure, "rounds": list(row.ours),
        "beside": row.beside, "their_rounds": list(row.theirs), "ratio": row.ratio,
        "spread": row.spread, "target": str(row.target or ""), "met": row.met,
        "bytes_written_per_event": row.written, "note": row.note,
    }  # fmt: skip
