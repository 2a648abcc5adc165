"""How many events the sink takes at once, where it refuses more as too large.

    refused 64 ──► 32 refused, 32 refused ──► 16, 16, 16, 16 taken:  from now on 16 at once
    refused 64 ──► 32 taken, 32 refused ──► … ──► one event alone is too large:  32 at once

What counts is what was seen to pass, not what was refused: a single huge event makes every piece
that holds it too large, and says nothing about the others.
"""

from typing import Final

_PATIENCE: Final = 64
"""After so many works of that size in a row, twice as many events are tried: one send in 64."""


class Fit:
    """`most` is the number of events, or None while nothing was refused."""

    def __init__(self) -> None:
        self.most: int | None = None
        self._in_a_row = 0

    def __repr__(self) -> str:
        return f"<Fit {self.most} in_a_row={self._in_a_row}>"

    def learn(self, taken: int, *, refused: bool) -> None:
        """A work has ended: its largest piece that was taken, and whether any was too large."""
        if refused and taken:
            self.most, self._in_a_row = taken, 0
        elif self.most is not None and taken >= self.most:
            self._in_a_row += 1
            if self._in_a_row >= _PATIENCE:
                self.most, self._in_a_row = self.most * 2, 0
