"""The tail: the newest events of the log, kept in memory, so that who keeps up reads no file.

    file    ─────────────────────────────────────────────►
    tail                                   [start ─── end)
                     far behind: the file ─►│ from here on: memory

It holds every event of its stretch, of whatever stream. Where events were not handed to it, it
begins anew behind the gap.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final

from forebay.buffer.ledger import Changes
from forebay.buffer.segment import Slice

MAX_BYTES: Final = 4 * 1024 * 1024
"""NDJSON that is kept, at most, for all sinks together."""
_OVERHEAD: Final = 256
"""What a slice takes in memory beside its payload, about; and an event's attributes."""

_first_seq = attrgetter("first_seq")


class Tail:
    """Slices in the order of seq, without a gap. It knows nothing of what is done."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._slices: list[Slice] = []
        self._size = 0

    def __repr__(self) -> str:
        return f"<Tail slices={len(self._slices)} bytes={self._size}>"

    def extend(self, slices: Sequence[Slice]) -> None:
        """Add what a commit stored, in the order of seq; what is too much is let go."""
        for slice_ in slices:
            if self._slices and self._slices[-1].next_seq != slice_.first_seq:
                self.clear()
            self._slices.append(slice_)
            self._size += _cost(slice_)
        if self._size > self._max_bytes:
            self._let_go(self._max_bytes * 3 // 4)  # rarely, and then many at once

    def follow(self, changes: Changes) -> None:
        """Let go of what was deleted from the log: a sink that gains streams must not find it."""
        if changes.quarantined is not None:  # somewhere in the middle
            self.clear()
        if changes.stored_from is not None:
            self._drop(bisect_left(self._slices, changes.stored_from, key=_first_seq))

    def clear(self) -> None:
        """Keep nothing."""
        self._slices.clear()
        self._size = 0

    def since(self, seq: int, end: int) -> Iterator[Slice] | None:
        """The slices from the one that holds `seq` on, if all from there to below `end` are here.

        They must be looked at before the next commit.
        """
        slices = self._slices
        if not slices or slices[-1].next_seq < end or slices[0].first_seq > seq:
            return None
        first = bisect_right(slices, seq, key=_first_seq) - 1
        return map(slices.__getitem__, range(first, len(slices)))

    def _let_go(self, size: int) -> None:
        """The oldest, until no more than `size` is left."""
        count, left = 0, self._size
        while left > size:
            left -= _cost(self._slices[count])
            count += 1
        self._drop(count)

    def _drop(self, count: int) -> None:
        self._size -= sum(map(_cost, self._slices[:count]))
        del self._slices[:count]


def _cost(slice_: Slice) -> int:
    return len(slice_.payload) + _OVERHEAD * (1 + len(slice_.attributes or ()))
