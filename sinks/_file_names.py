"""Where events are written: names from a template, a stream, the time and a number.

    /data/{stream}/%Y-%m-%d.ndjson    stream sales.eu, rotate_every 6h, rotate_bytes, zstd

    /data/sales.eu/2026-11-22~20261122T060000Z~0002.ndjson.zst
                             └ rotate_every   └ rotate_bytes

`~` cannot be in the name of a stream, so a rotated file of one stream is never that of another.
Times are UTC. A window of `rotate_every` begins at a multiple of it since 1970, also after a
restart, and lends its beginning to the name.
"""

import math
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Place:
    """A file and its successors by size: `root.ext`, `root~0001.ext`, `root~0002.ext` …"""

    root: str
    extension: str

    def numbered(self, number: int) -> Path:
        """The file with that number; 0 has none in its name."""
        return Path(f"{self.root}~{number:04d}{self.extension}" if number else self._first)

    def latest(self) -> int:
        """The highest number that exists, 0 without any. Raises OSError."""
        directory, stem = os.path.split(self.root)
        pattern = re.compile(re.escape(stem) + r"~([0-9]{4,})" + re.escape(self.extension))
        try:
            names = [path.name for path in Path(directory or ".").iterdir()]
        except FileNotFoundError:
            return 0
        numbers = (int(match[1]) for name in names if (match := pattern.fullmatch(name)))
        return max(numbers, default=0)

    @property
    def _first(self) -> str:
        return self.root + self.extension


def place(template: str, suffix: str, every: float | None, stream: str, now: float) -> Place:
    """Where events of a stream go at a time.

    `suffix` is that of the compression, `every` the length of a window in seconds.
    """
    start = now if every is None else math.floor(now / every) * every
    moment = datetime.fromtimestamp(start, UTC)
    root, extension = os.path.splitext(template.removesuffix(suffix))  # noqa: PTH122  a template
    window = "" if every is None else f"~{moment:%Y%m%dT%H%M%SZ}"
    return Place(
        _expand(root, stream, moment) + window, _expand(extension, stream, moment) + suffix
    )


def safe_name(stream: str) -> str:
    """The name of a stream as one harmless component of a path; usual names stay as they are."""
    quoted = quote(stream, safe="")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def _expand(template: str, stream: str, moment: datetime) -> str:
    # The time first: a `%` in the name of a stream means nothing.
    return moment.strftime(template).replace("{stream}", safe_name(stream))
