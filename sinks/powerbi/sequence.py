"""Which number a batch carries, and what may be concluded from the numbers that the service has.

    63 bits     first seq (39)  |  16383 - rows (14)  |  mark (10)

- **Growing.** The pipeline sends in order, so a later batch begins at a higher seq; a piece of a
  batch that was refused begins later too, or at the same seq with fewer rows. So numbers grow even
  where the service remembers the number of what it refused.
- **The same for the same batch**, after a restart too: nothing but the batch goes into it.
- **Another for anything else.** The mark is a checksum of the sink's identity and of every seq. A
  buffer that was deleted and begins at 1 again, another writer, or the same batch without a row
  that went to the dead letters meanwhile, is not taken for this batch (but for 1 of 1024 that
  begin at the same seq with as many rows).

Microsoft documents neither what a repeated or lower number does, nor whose numbers `clientId`
tells apart. Every doubt is decided for a possible duplicate, against a possible loss:

| read back | conclusion |
|---|---|
| our number, in any entry | stored: it is not sent again |
| nothing as high as ours | not stored: sent with the number |
| a higher one, not ours | sent without a number: the service may drop what is not higher |
| less than it took from us before | not honoured |

That a number is *at least* ours would tell something only if nobody else had ever written one.
"""

import zlib
from collections.abc import Collection, Mapping

import msgspec

from forebay.sinks.base import Answer, Batch, Retry

HEADER = "X-PowerBI-PushData-SequenceNumber"
GREATEST = (1 << 63) - 1
"""64 bits are what public clients use at most; how many the service takes is documented nowhere."""

_MARK_BITS = 10
_ROW_BITS = 14
_MOST_ROWS = (1 << _ROW_BITS) - 1
_REPLAYED = "/replay-"


def has_place(batch: Batch) -> bool:
    """Whether the batch has a place in the order; replayed dead letters come out of it."""
    return _REPLAYED not in batch.id


def number_of(batch: Batch) -> int:
    """The number of the batch; above `GREATEST` when the buffer's seqs have outgrown it."""
    place = batch.first_seq << _ROW_BITS | max(_MOST_ROWS - batch.count, 0)
    mark = zlib.crc32(f"{batch.origin} {list(batch.runs())}".encode()) % (1 << _MARK_BITS)
    return place << _MARK_BITS | mark


class Numbers:
    """What is known of the numbers that a table has seen. Asked and told; sends nothing."""

    def __init__(self) -> None:
        self._seen: frozenset[int] | None = None  # None until they were read back once
        self._sent = 0
        self._stored = 0
        self._doubtful: int | None = None

    def __repr__(self) -> str:
        return f"Numbers(sent={self._sent}, stored={self._stored}, doubtful={self._doubtful})"

    def in_doubt(self, number: int) -> bool:
        """Whether this batch may be stored already, for all we know.

        Until the first read-back any may: an earlier process may have ended without its answer.
        """
        return self._seen is None or self._doubtful == number

    def read_back(self, numbers: Collection[int]) -> bool:
        """Learn what the service has; False when it lacks what it took from us."""
        self._seen, self._doubtful = frozenset(numbers), None
        return self._highest >= self._stored

    def is_stored(self, number: int) -> bool:
        """Whether the service was seen to have this very number."""
        return self._seen is not None and number in self._seen

    def is_overtaken(self, number: int) -> bool:
        """Whether the service was seen to have a higher one, which is not ours."""
        return self._seen is not None and number < self._highest

    def is_usable(self, number: int) -> bool:
        """Whether nothing is known because of which the service may take it for an old one."""
        return self._seen is not None and number > self._highest and number >= self._sent

    def sending(self, number: int) -> Mapping[str, str]:
        """The header of a POST that is about to be sent. It is in doubt until `answered`."""
        self._sent = self._doubtful = number
        return {HEADER: str(number)}

    def answered(self, number: int, answer: Answer | None, *, still_doubtful: bool) -> None:
        """Learn what became of that POST; None is stored.

        `still_doubtful` says that an earlier one of the same batch has not been cleared up.
        """
        if answer is None:
            self._stored, self._doubtful = number, None
        elif not still_doubtful and not (isinstance(answer, Retry) and answer.ambiguous):
            self._doubtful = None

    @property
    def _highest(self) -> int:
        return max(self._seen or (), default=0)


class _Entry(msgspec.Struct):
    number: int = msgspec.field(name="sequenceNumber")


class _Listed(msgspec.Struct):
    value: list[_Entry]


def numbers_in(body: bytes) -> list[int] | None:
    """The numbers of `{"value": [{"clientId": …, "sequenceNumber": 5}]}`; None for anything else.

    Those of all clients: which of them is ours is documented nowhere.
    """
    try:
        listed = msgspec.json.decode(body, type=_Listed, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return [entry.number for entry in listed.value]
