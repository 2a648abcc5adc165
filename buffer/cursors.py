"""A cursor: how far a sink is done with the log.

seq   1 ─────────────── position ───── [first, last] ──── [first, last] ───►
      all done                  open      done       open     done       open
"""

import msgspec


class Cursor(msgspec.Struct, frozen=True):
    """All seqs below `position` are done, and the `done` ranges (inclusive, sorted) above it."""

    position: int
    done: tuple[tuple[int, int], ...] = ()

    def covers(self, first: int, last: int) -> bool:
        """Whether all of `first` to `last` is done."""
        return last < self.position or any(a <= first and last <= b for a, b in self.done)

    def touches(self, first: int, last: int) -> bool:
        """Whether anything of `first` to `last` is done."""
        return first < self.position or any(a <= last and first <= b for a, b in self.done)

    def settle(self, first: int, last: int) -> "Cursor":
        """This cursor with `first` to `last` done as well."""
        ranges = sorted([*self.done, (first, last)])
        position = self.position
        above: list[tuple[int, int]] = []
        for low, high in ranges:
            if low <= position:
                position = max(position, high + 1)
            elif above and low <= above[-1][1] + 1:
                above[-1] = (above[-1][0], max(above[-1][1], high))
            else:
                above.append((low, high))
        return Cursor(position, tuple(above))

    def open_events(self, first: int, last: int) -> int:
        """How many of `first` to `last` are not done."""
        first = max(first, self.position)
        done = sum(max(min(last, high) - max(first, low) + 1, 0) for low, high in self.done)
        return max(last - first + 1, 0) - done

    def next_open(self, seq: int) -> int:
        """The first seq from `seq` on that is not done."""
        seq = max(seq, self.position)
        for low, high in self.done:
            if low <= seq <= high:
                seq = high + 1
        return seq
