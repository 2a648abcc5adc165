"""Idempotent ingest: what was stored before, within a window of time, is not stored again.

Keys are written in the transaction of their events, so they tell the truth after a crash too.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec
from msgspec.structs import replace

from forebay.buffer.entry import Entry
from forebay.buffer.transaction import Transaction

_MOST_KEYS: Final = 2_000_000
_KEY_BYTES: Final = 80
"""What a key takes on disk with its index entry, about."""
_SHARE: Final = 8
"""Keys take at most this part of the buffer: then the oldest are forgotten before their time."""
_BITE: Final = 2000

_FIND = "SELECT 1 FROM seen WHERE key = ? AND at > ?"
# A key that comes again after its window gets a new id: ids stay in the order of time.
_KEEP = "INSERT OR REPLACE INTO seen (key, at) VALUES (?, ?)"
_BOUNDS = "SELECT (SELECT min(id) FROM seen), (SELECT max(id) FROM seen)"
_FORGET = "DELETE FROM seen WHERE id < ? OR (id < ? AND at <= ?)"


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """What of an entry is new, the keys to keep once it is stored, and how much was not new."""

    entry: Entry
    keys: tuple[bytes, ...]
    duplicates: int


class Dedup:
    """`window` is in seconds; 0 remembers nothing. `capacity` is the buffer's, in bytes."""

    def __init__(self, window: float, capacity: int) -> None:
        self._window = window
        self._most = min(_MOST_KEYS, capacity // _SHARE // _KEY_BYTES)
        self._kept = 0
        """Keys in the file, as far as was looked; no fewer."""

    @property
    def crowded(self) -> bool:
        """Whether there are so many keys that the oldest must not wait for their time."""
        return self._kept > self._most + self._most // 8

    def fresh(self, transaction: Transaction, entries: Sequence[Entry], now: float) -> list[Fresh]:
        """The new part of each entry; earlier ones count for later ones."""
        taken: set[bytes] = set()
        return [self._fresh(transaction, entry, now, taken) for entry in entries]

    def keep(self, transaction: Transaction, keys: Sequence[bytes], now: float) -> None:
        """Remember keys whose entries are stored by this transaction."""
        if keys:
            transaction.database.executemany(_KEEP, [(key, now) for key in keys])
            self._kept += len(keys)

    def forget(self, transaction: Transaction, now: float) -> bool:
        """Forget one bite of keys that are too old or too many; whether there were any."""
        first, last = transaction.database.execute(_BOUNDS).fetchone()
        if first is None:
            self._kept = 0
            return False
        surplus = min(last - first + 1 - self._most, _BITE)
        gone = transaction.database.execute(
            _FORGET, (first + max(surplus, 0), first + _BITE, now - self._window)
        ).rowcount
        self._kept = last - first + 1 - gone
        return bool(gone)  # ids have gaps: a bite that is not full does not mean the end

    def _fresh(
        self, transaction: Transaction, entry: Entry, now: float, taken: set[bytes]
    ) -> Fresh:
        if not self._window or not entry.count:
            return Fresh(entry, (), 0)
        if entry.key is not None:
            digest = _digest(entry.stream, b"request", entry.key)
            if self._seen(transaction, digest, now, taken):
                return Fresh(_part(entry, []), (), entry.count)
            return Fresh(entry, (digest,), 0)
        if entry.event_keys is None:
            return Fresh(entry, (), 0)
        return self._fresh_events(transaction, entry, entry.event_keys, now, taken)

    def _fresh_events(
        self,
        transaction: Transaction,
        entry: Entry,
        event_keys: Sequence[bytes | None],
        now: float,
        taken: set[bytes],
    ) -> Fresh:
        rows: list[int] = []
        keys: list[bytes] = []
        for row, key in enumerate(event_keys):
            if key is None:
                rows.append(row)
                continue
            digest = _digest(entry.stream, b"event", key)
            if not self._seen(transaction, digest, now, taken):
                rows.append(row)
                keys.append(digest)
        new = entry if len(rows) == entry.count else _part(entry, rows)
        return Fresh(new, tuple(keys), entry.count - len(rows))

    def _seen(self, transaction: Transaction, digest: bytes, now: float, taken: set[bytes]) -> bool:
        if digest in taken:
            return True
        taken.add(digest)
        found = transaction.database.execute(_FIND, (digest, now - self._window)).fetchone()
        return found is not None


def _digest(stream: str, kind: bytes, key: bytes) -> bytes:
    # No stream name contains a zero byte, so no two identities look alike.
    return blake2b(stream.encode() + b"\0" + key, person=kind, digest_size=16).digest()


def _part(entry: Entry, rows: Sequence[int]) -> Entry:
    """The events of these indexes alone."""
    events = entry.payload.split(b"\n") if rows else []
    attributes = entry.attributes and tuple(entry.attributes[row] for row in rows)
    return replace(
        entry,
        payload=b"\n".join([events[row] for row in rows]),
        count=len(rows),
        attributes=attributes,
        event_keys=None,
    )
