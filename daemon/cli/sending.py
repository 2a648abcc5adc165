"""Sending a file of NDJSON in batches: what is retried, what is given up, what is reported.

    lines ──► chunks ──► post ─┬─ 200, 422: count, report rejected lines
                               ├─ 413: halve
                               ├─ 429, 503, broken connection: wait, the same again
                               └─ anything else: give up, and say from which line to go on

Each chunk carries an idempotency key made of its lines, so that the same again is stored once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any

from forebay.daemon.cli import connection

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines, the first of them being line number `first` of the file."""

    first: int
    lines: tuple[bytes, ...]

    @property
    def last(self) -> int:
        return self.first + len(self.lines) - 1

    @property
    def body(self) -> bytes:
        return b"\n".join(self.lines)

    def halves(self) -> tuple["Chunk", "Chunk"]:
        middle = len(self.lines) // 2
        return (
            Chunk(self.first, self.lines[:middle]),
            Chunk(self.first + middle, self.lines[middle:]),
        )


def chunks(
    lines: Iterable[bytes], *, start: int, max_lines: int, max_bytes: int
) -> Iterator[Chunk]:
    """The lines from number `start` on, in chunks of at most so many lines and bytes.

    A line that is larger than `max_bytes` is a chunk of its own.
    """
    gathered: list[bytes] = []
    first, size = start, 0
    for number, raw in enumerate(lines, 1):
        if number < start:
            continue
        line = raw.rstrip(b"\r\n")
        if gathered and (len(gathered) == max_lines or size + len(line) + 1 > max_bytes):
            yield Chunk(first, tuple(gathered))
            gathered, first, size = [], number, 0
        gathered.append(line)
        size += len(line) + 1
    if gathered:
        yield Chunk(first, tuple(gathered))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the daemon. `after` is its `Retry-After`, in seconds."""

    status: int
    body: dict[str, Any]
    after: float | None = None

    @property
    def error(self) -> str:
        return " ".join(str(self.body.get("error", f"status {self.status}")).split())


Post = Callable[[bytes, str], Reply]
"""Posts a body with an idempotency key. Raises one of `connection.FAILURES`."""


class NotSentError(Exception):
    """The lines from number `line` on were not sent, or it is not known that they were."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


@dataclass
class Totals:
    """What became of the events."""

    accepted: int = 0
    duplicates: int = 0
    dropped: int = 0
    rejected: int = 0

    def add(self, body: dict[str, Any]) -> None:
        for name in ("accepted", "duplicates", "dropped", "rejected"):
            setattr(self, name, getattr(self, name) + int(body.get(name, 0)))


@dataclass
class Sender:
    """Posts chunks until they are taken, refused for good, or `timeout` seconds went by without
    either.

    `report` is told the number of each rejected line, and why.
    """

    post: Post
    key: str
    timeout: float
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    report: Callable[[int, str], None]
    totals: Totals = field(default_factory=Totals)
    _reached: bool = False

    def send(self, chunk: Chunk) -> None:
        """Send all of the chunk. Raises NotSentError when that cannot be done."""
        reply = self._insist(chunk)
        match reply.status:
            case HTTPStatus.OK | HTTPStatus.UNPROCESSABLE_ENTITY:
                self._count(chunk, reply)
            case HTTPStatus.REQUEST_ENTITY_TOO_LARGE if len(chunk.lines) > 1:
                for half in chunk.halves():
                    self.send(half)
            case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                self.totals.rejected += 1
                self.report(chunk.first, reply.error)
            case _:
                raise NotSentError(chunk.first, reply.error)

    def _count(self, chunk: Chunk, reply: Reply) -> None:
        self.totals.add(reply.body)
        for entry in reply.body.get("errors", ()):
            self.report(chunk.first + entry["line"] - 1, str(entry["error"]))

    def _insist(self, chunk: Chunk) -> Reply:
        """The answer that is not "later"."""
        deadline = self.monotonic() + self.timeout
        key = f"{self.key}/{chunk.first}-{chunk.last}"
        for attempt in count():
            try:
                reply = self.post(chunk.body, key)
            except connection.FAILURES as error:
                why, after = connection.reason(error), None
                if not self._reached:
                    raise NotSentError(chunk.first, f"no answer: {why}") from None
            else:
                self._reached = True
                if reply.status not in (
                    HTTPStatus.TOO_MANY_REQUESTS,
                    HTTPStatus.SERVICE_UNAVAILABLE,
                ):
                    return reply
                why, after = reply.error, reply.after
            # Doubling up to a bound; 2**attempt alone would outgrow a float in time.
            wait = (
                min(_FIRST_WAIT * 2 ** min(attempt, 10), _LONGEST_WAIT) if after is None else after
            )
            if self.monotonic() + wait > deadline:
                raise NotSentError(chunk.first, f"gave up after {self.timeout:g} s: {why}")
            self.sleep(wait)
        raise AssertionError("count() does not end")
