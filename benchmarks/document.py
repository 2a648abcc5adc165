"""Keeps the table in docs/performance.md as the last whole run measured it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Row, number

PAGE = Path("docs/performance.md")
_BEGIN, _END = "<!-- figures: written by make bench -->\n", "<!-- end of figures -->\n"


def update(rows: Sequence[Row], where: Mapping[str, Any], page: Path = PAGE) -> None:
    """Replace what stands between the marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, found, after = rest.partition(_END)
    if not found:
        raise ValueError(f"{page} has no place for the figures: {_BEGIN.strip()} … {_END.strip()}")
    page.write_text(f"{before}{_BEGIN}{render(rows, where)}{_END}{after}", encoding="utf-8")


def render(rows: Sequence[Row], where: Mapping[str, Any]) -> str:
    """The table in Markdown, with what it was measured on and the notes below."""
    told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in where.items())
    head = (
        "| what | forebay | beside | that | ratio | spread | target | bytes written an event |\n"
        "|---|--:|---|--:|--:|--:|--:|--:|\n"
    )
    notes = "".join(f"- {row.what}: {row.note}.\n" for row in rows if row.note)
    return f"\nMeasured on: {told}.\n\n{head}{''.join(map(_line, rows))}\n{notes}\n"


def _line(row: Row) -> str:
    cells = (
        row.what,
        f"{number(row.figure)} {row.unit}",
        row.beside,
        f"{number(median(row.theirs))} {row.unit}" if row.theirs else "",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        f"{row.spread:.2f}" if len(row.ours) > 1 else "",
        "" if row.target is None else f"{row.target}{'' if row.met else ', missed'}",
        "" if row.written is None else number(row.written),
    )
    return f"| {' | '.join(cells)} |\n"
