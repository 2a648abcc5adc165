"""A batch on its way, and what in the log it answers for.

    log    first ─────────────────────────────────── last
    batch      ▪▪▪▪▪▪▪▪  (others' events)  ▪▪▪▪▪▪▪▪

When a batch is cut, its stretch is cut with it: so each piece is settled by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from forebay.buffer import DeadLetter, Reading
from forebay.sinks import Batch, Part


@dataclass(slots=True, eq=False)
class Chunk:
    """A stretch of the log whose events travel in several lanes, and how many are not done."""

    first: int
    last: int
    left: int
    delivered: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """`first` to `last` holds the batch's events and nothing else for its sink.

    Each is itself alone, and never compared by its content, which may be large.

    Replayed dead letters have no stretch of the log, but `letters`: their ids, one an event.
    """

    batch: Batch
    first: int
    last: int
    letters: tuple[int, ...] = ()
    chunk: Chunk | None = None
    """What the work is a lane of: others' events lie between its own."""
    attempts: int = 0
    failures: int = 0
    """Attempts that count for `retry.max_attempts`: neither throttled nor held."""
    repeats: int = 0
    """Times that it was sent again after an answer that never came."""

    @property
    def received_at(self) -> float:
        """When its first event came, in seconds since the epoch."""
        return self.batch.parts[0].received_at

    def halves(self) -> tuple["Work", "Work"]:
        """Two works of about the same number of events."""
        middle = self.batch.count // 2
        head = self.batch.cut(0, middle)
        tail = self.batch.cut(middle, self.batch.count)
        return (
            replace(self, batch=head, last=tail.first_seq - 1, letters=self.letters[:middle]),
            replace(self, batch=tail, first=tail.first_seq, letters=self.letters[middle:]),
        )

    def without(self, rows: Sequence[int]) -> "Work | None":
        """This work without the events of these indexes; None when nothing is left."""
        bad = set(rows)
        left = [row for row in range(self.batch.count) if row not in bad]
        return self._only(left) if left else None

    def lane(self, rows: Sequence[int], chunk: Chunk) -> "Work":
        """The events of these indexes, in a lane of their own."""
        return replace(self._only(rows), chunk=chunk)

    def _only(self, rows: Sequence[int]) -> "Work":
        parts = tuple(self.batch.singles[row] for row in rows)
        letters = tuple(self.letters[row] for row in rows) if self.letters else ()
        return replace(self, batch=Batch(self.batch.origin, parts), letters=letters)

    def again(self, *, ambiguous: bool = False, failed: bool = False) -> "Work":
        """This work after a send that did not succeed."""
        return replace(
            self,
            attempts=self.attempts + 1,
            failures=self.failures + failed,
            repeats=self.repeats + ambiguous,
        )


def from_log(origin: str, reading: Reading) -> Work:
    """The work for what was read; it must not be empty."""
    parts = tuple(
        Part(part.stream, part.first_seq, part.count, part.received_at, part.payload,
             part.attributes)
        for part in reading.slices
    )  # fmt: skip
    return Work(Batch(origin, parts), reading.first, reading.last)


def from_letters(origin: str, letters: Sequence[DeadLetter]) -> Work:
    """The work for dead letters that are back in line, in the order of their seqs.

    Its batch has an identity of its own: the sink has already answered the old one.
    """
    letters = sorted(letters, key=lambda letter: (letter.seq, letter.id))
    parts = tuple(
        Part(letter.stream, letter.seq, 1, letter.received_at, letter.event,
             (letter.attributes,) if letter.attributes else None)
        for letter in letters
    )  # fmt: skip
    ids = tuple(letter.id for letter in letters)
    origin = f"{origin}/replay-{min(ids)}+{len(ids)}"
    return Work(Batch(origin, parts), 0, -1, letters=ids)
