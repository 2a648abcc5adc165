"""Tables for a person, drawn by rich."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from forebay.daemon.cli.output import shown
from forebay.daemon.settings.text import duration_text

_KIB = 1024


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print one row a line; cells may come from elsewhere, so nothing in them is interpreted."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(shown, row))
    Console(markup=False, highlight=False, emoji=False).print(table)


def about_size(size: float) -> str:
    """A size with one digit after the point: 1.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _KIB:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KIB
    return f"{size:.1f} TiB"


def about_duration(seconds: float | None) -> str:
    """Whole seconds: 1h3m20s."""
    return "-" if seconds is None else duration_text(timedelta(seconds=round(seconds)))
