"""What goes into the log, and what comes back for it."""

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Events of one stream that are stored together or not at all.

    `payload` holds `count` events as NDJSON: one a line, no newline inside an event nor at the
    end. `attributes` is None, or one mapping or None an event (a CloudEvent's attributes).

    `key` is the identity of the whole entry where its sender gave one: an entry with a key that
    was seen before is not stored again. `event_keys` are the identities of its single events,
    used where there is no `key`.
    """

    stream: str
    payload: bytes
    count: int
    attributes: tuple[dict[str, str] | None, ...] | None = None
    key: bytes | None = None
    event_keys: tuple[bytes | None, ...] | None = None


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What became of an entry. The seqs are None when nothing new was stored."""

    accepted: int
    duplicates: int = 0
    dropped: int = 0
    first_seq: int | None = None
    last_seq: int | None = None
