"""Lanes: parts of a batch that may be in flight at once, each event's key always in the same one.

    batch   a1 b1 a2 c1 b2        by key
    lane 0  a1    a2                 in order
    lane 1     b1    c1 b2           in order, beside lane 0

The next batch starts when all lanes of the last one are done: so the order of a key's events holds
from batch to batch as well.
"""

from zlib import crc32

import msgspec

from forebay.daemon.delivery.work import Chunk, Work

_MISSING = b""
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Lanes:
    """Cuts works by the field at `path` (dots lead into objects) into at most `most` lanes."""

    def __init__(self, path: str, most: int) -> None:
        self._path = path.split(".")
        self._most = most

    def split(self, work: Work) -> list[Work]:
        """The lanes' works, which together are settled as `work` would be."""
        rows: dict[int, list[int]] = {}
        for row, event in enumerate(work.batch.events):
            rows.setdefault(crc32(self.key(event)) % self._most, []).append(row)
        chunk = Chunk(work.first, work.last, work.batch.count)
        return [work.lane(chosen, chunk) for chosen in rows.values()]

    def key(self, event: bytes) -> bytes:
        """The field's JSON text; events without it have one key together."""
        value = event
        for name in self._path:
            try:
                value = bytes(_object(value)[name])
            except (KeyError, msgspec.DecodeError, msgspec.ValidationError):
                return _MISSING
        return value
