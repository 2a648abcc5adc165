"""Log lines: one `action` a line that names what happened, and no secret in any.

    structlog.get_logger().warning("sink.held", sink="sales", reason="404 …")
    {"action": "sink.held", "sink": "sales", "reason": "404 …", "level": "warning", …}

They go to standard error, with those of the libraries: as JSON, or for a terminal to be read. The
journal keeps times and levels itself, so it gets a priority in front of each line and no time.
"""

import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from enum import StrEnum
from typing import Any, TextIO

import structlog
from pydantic import BaseModel, ConfigDict, Field
from structlog.typing import EventDict, Processor

from forebay.daemon.masking import Mask


class Format(StrEnum):
    """How a log line is written."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class Level(StrEnum):
    """The least important kind of line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogOptions(BaseModel):
    """The `[log]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format = Field(
        default=Format.AUTO,
        description="`json`, `text` for a person, or `auto`: text on a terminal, else JSON.",
    )
    level: Level = Field(
        default=Level.INFO, description="Lines less important than this are not written."
    )


class Repeats:
    """Lets the same thing through once in `interval` seconds, and counts what it held back."""

    def __init__(
        self, monotonic: Callable[[], float], interval: float = 60.0, remembered: int = 1000
    ) -> None:
        self._monotonic = monotonic
        self._interval = interval
        self._remembered = remembered
        self._seen: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def admit(self, key: Hashable) -> int | None:
        """How many were held back since the last one, or None to hold this one back too."""
        now = self._monotonic()
        since, held_back = self._seen.get(key, (now - self._interval, 0))
        if now - since < self._interval:
            self._seen[key] = (since, held_back + 1)
            return None
        self._seen[key] = (now, 0)
        self._seen.move_to_end(key)
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        return held_back


class _RepeatFilter(logging.Filter):
    """Repeats, applied to our lines (by what they name) and to those of libraries."""

    def __init__(self, repeats: Repeats) -> None:
        super().__init__()
        self._repeats = repeats

    def filter(self, record: logging.LogRecord) -> bool:
        line: object = record.msg
        key: Hashable = (record.name, record.getMessage())
        if isinstance(line, dict):
            key = tuple(str(line.get(name)) for name in ("event", "sink", "reason", "outcome"))
        suppressed = self._repeats.admit(key)
        record.suppressed = suppressed
        return suppressed is not None


class _JournalFormatter(structlog.stdlib.ProcessorFormatter):
    """Puts the priority in front of each line, as sd-daemon(3) describes it."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((n for level, n in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)


def _is_journal(stream: TextIO) -> bool:
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _arranged(_logger: Any, _name: str, line: EventDict) -> EventDict:
    """The line with what it always has in front, and without structlog's own keys."""
    record, ours = line.pop("_record"), line.pop("_from_structlog")
    event = line.pop("event")
    arranged: EventDict = {key: line.pop(key) for key in ("timestamp",) if key in line}
    arranged["level"] = record.levelname.lower()
    if ours:
        arranged["action"] = event
    else:
        arranged.update({"action": "library", "logger": record.name, "message": event})
    if suppressed := getattr(record, "suppressed", 0):
        arranged["suppressed"] = suppressed
    return {**arranged, **line}


def _traceback(_logger: Any, _name: str, line: EventDict) -> EventDict:
    if "exception" in line:
        line["traceback"] = line.pop("exception")
    return line


def _masked(mask: Mask) -> Processor:
    def masked(_logger: Any, _name: str, line: EventDict) -> EventDict:
        return {key: mask.value(value) for key, value in line.items()}

    return masked


def _renderers(style: Format, stream: TextIO) -> list[Processor]:
    if style is Format.TEXT or (style is Format.AUTO and stream.isatty()):
        # Not rich's tracebacks: they show the values of variables.
        plain = structlog.dev.plain_traceback
        return [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), event_key="action", exception_formatter=plain
            )
        ]
    return [_traceback, structlog.processors.JSONRenderer(ensure_ascii=False)]


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that `configure` puts up and takes down."""


def configure(
    options: LogOptions,
    secrets: Collection[str] = (),
    *,
    stream: TextIO | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Send all lines to `stream` (standard error) from now on; may be called again.

    `secrets` are replaced by `***` wherever they appear. A line that says the same as one of the
    last minute is held back, and counted in `suppressed` of the next one.
    """
    stream = stream or sys.stderr
    journal = _is_journal(stream)
    handler = _Handler(stream)
    handler.addFilter(_RepeatFilter(Repeats(monotonic)))
    formatter = _JournalFormatter if journal else structlog.stdlib.ProcessorFormatter
    handler.setFormatter(
        formatter(
            processors=[
                *([] if journal else [structlog.processors.TimeStamper(fmt="iso")]),
                _arranged,
                structlog.processors.format_exc_info,
                _masked(Mask(secrets)),
                *_renderers(options.format, stream),
            ]
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    _replace_handler(handler, options.level)


def _replace_handler(handler: logging.Handler, level: Level) -> None:
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
