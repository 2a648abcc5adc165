"""What a body comes to: good events, and faults of single ones."""

from typing import Final

import msgspec

MAX_FAULTS: Final = 100
"""Faults that an answer lists; all of them are counted."""

Attributes = dict[str, str]


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one event. `line` counts from 1: a line, or an array's element."""

    line: int
    error: str


class Events(msgspec.Struct, frozen=True):
    """`count` good events as NDJSON, one a line, and `rejected` bad ones.

    `faults` tells of the first MAX_FAULTS of the bad. `attributes` and `keys` are there for
    CloudEvents, one for each good event.
    """

    payload: bytes
    count: int
    rejected: int = 0
    faults: tuple[Fault, ...] = ()
    attributes: tuple[Attributes | None, ...] | None = None
    keys: tuple[bytes | None, ...] | None = None


class Sieve:
    """Takes events one by one, where a body is not good as a whole."""

    def __init__(self, max_event: int) -> None:
        self._max_event = max_event
        self._payloads: list[bytes] = []
        self._count = 0
        self._faults: list[Fault] = []
        self._rejected = 0
        self._attributes: list[Attributes | None] = []
        self._keys: list[bytes | None] = []

    def take(self, line: int, event: bytes) -> bool:
        """Take valid JSON without newlines; whether it is an event, and not too large."""
        if not event.startswith(b"{"):
            self.reject(line, "not a JSON object")
        elif len(event) > self._max_event:
            self.reject(line, f"larger than {self._max_event} bytes (ingest.max_event)")
        else:
            self.take_all(event, 1)
            return True
        return False

    def take_with(self, line: int, event: bytes, attributes: Attributes, key: bytes) -> None:
        """Take an event and what belongs to it. Of one body all events have this, or none."""
        if self.take(line, event):
            self._attributes.append(attributes)
            self._keys.append(key)

    def take_all(self, payload: bytes, count: int) -> None:
        """Take events that are known to be good."""
        self._payloads.append(payload)
        self._count += count

    def reject(self, line: int, error: str) -> None:
        """Count a bad event."""
        self._rejected += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(line, error))

    def events(self) -> Events:
        """All that was taken."""
        return Events(
            b"\n".join(self._payloads),
            self._count,
            self._rejected,
            tuple(self._faults),
            tuple(self._attributes) or None,
            tuple(self._keys) or None,
        )
