"""Figures as ratios of two things that were measured in turns, in one run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    what: str
    ours: str
    beside: str
    theirs: str
    ratio: float
    spread: float
    """The largest of our rounds over the smallest."""


def show(rows: list[Row], where: str) -> None:
    table = Table("what", "forebay", "beside", "that", "ratio", "spread", title=where)
    for row in rows:
        table.add_row(
            row.what, row.ours, row.beside, row.theirs, f"{row.ratio:.2f}", f"{row.spread:.2f}"
        )
    Console(width=150).print(table)


def keep(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
