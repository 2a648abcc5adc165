"""Putting entries into the log: one segment per stream, for all that wait at once."""

from collections.abc import Iterable, Sequence
from itertools import chain

from forebay.buffer.database import PAGE_SIZE, used_bytes
from forebay.buffer.dedup import Dedup, Fresh
from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferFault, BufferFull
from forebay.buffer.ledger import Outcome
from forebay.buffer.operations import Append
from forebay.buffer.options import WhenFull
from forebay.buffer.retention import give_up_oldest
from forebay.buffer.segment import Attributes, Packer, Row, chunks
from forebay.buffer.transaction import Transaction


class Appender:
    """Keeps the log within `capacity` bytes of pages, by the operator's policy."""

    def __init__(self, capacity: int, policy: WhenFull, dedup: Dedup) -> None:
        self._capacity = capacity
        self._policy = policy
        self._dedup = dedup
        self._packer = Packer()

    def append(
        self, transaction: Transaction, appends: Sequence[Append], now: float, used: int
    ) -> None:
        """Store the entries, and set the result of each. `used` is the size of the log so far."""
        room = _Room(self._capacity - used)
        by_stream: dict[str, list[Append]] = {}
        for append in appends:
            by_stream.setdefault(append.entry.stream, []).append(append)
        for group in by_stream.values():
            self._append(transaction, group, now, room)

    def _append(
        self, transaction: Transaction, group: list[Append], now: float, room: "_Room"
    ) -> None:
        """Append entries of one stream: all in one, or each for itself where there is no room."""
        entries = [append.entry for append in group]
        fresh = self._dedup.fresh(transaction, entries, now)
        rows = self._pack(transaction, [new.entry for new in fresh if new.entry.count], now)
        if room.take(rows) or (len(group) == 1 and self._make_room(transaction, rows, room)):
            self._store(transaction, group, fresh, rows, now)
        elif len(group) > 1:  # what is small may still fit
            for append in group:
                self._append(transaction, [append], now, room)
        elif self._policy is WhenFull.DROP_NEWEST:
            new = fresh[0]
            transaction.dropped(new.entry.stream, new.entry.count)
            group[0].result = Receipt(0, new.duplicates, dropped=new.entry.count)
        else:
            group[0].result = refusal(self._capacity)

    def _store(
        self,
        transaction: Transaction,
        group: Sequence[Append],
        fresh: Sequence[Fresh],
        rows: Sequence[Row],
        now: float,
    ) -> None:
        seq = transaction.next_seq
        for row in rows:
            transaction.insert(group[0].entry.stream, row)
        for append, new in zip(group, fresh, strict=True):
            self._dedup.keep(transaction, new.keys, now)
            append.result = _receipt(new, seq)
            seq += new.entry.count

    def _make_room(self, transaction: Transaction, rows: Sequence[Row], room: "_Room") -> bool:
        """Drop the oldest events until the rows fit, where that is the policy and they ever can."""
        if self._policy is not WhenFull.DROP_OLDEST or _need(rows) > self._most(transaction):
            return False
        while not room.take(rows):
            if not give_up_oldest(transaction, Outcome.DROPPED):
                return False
            room.left = self._capacity - used_bytes(transaction.database)
        return True

    def _most(self, transaction: Transaction) -> int:
        """The bytes that events could have, beside what no dropping of events gives back."""
        kept = sum(sink.dead_letter_bytes for sink in transaction.sinks().values())
        return self._capacity - kept

    def _pack(self, transaction: Transaction, entries: list[Entry], now: float) -> list[Row]:
        if not entries:
            return []
        stream_id, seq, offset = (
            transaction.stream(entries[0].stream).id,
            transaction.next_seq,
            0,
        )
        payload = b"\n".join([entry.payload for entry in entries])
        attributes = _attributes(entries)
        rows: list[Row] = []
        for piece, count in chunks(payload, sum(entry.count for entry in entries)):
            extra = attributes and attributes[offset : offset + count]
            row = self._packer.pack(
                piece, extra, first_seq=seq, events=count, stream=stream_id, received_at=now
            )
            rows.append(row)
            seq, offset = seq + count, offset + count
        return rows


class _Room:
    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, rows: Iterable[Row]) -> bool:
        need = _need(rows)
        if need > max(self.left, 0):  # what needs none fits into a log that is over its limit
            return False
        self.left -= need
        return True


def _need(rows: Iterable[Row]) -> int:
    """Bytes of the pages that rows take at most: overflow chains, and places in the tree."""
    return PAGE_SIZE * sum(
        (len(row.data) + len(row.attributes or b"")) // (PAGE_SIZE - 4) + 2 for row in rows
    )


def refusal(capacity: int) -> BufferFault:
    """Why there is no room, and what to do."""
    return BufferFull(
        f"the buffer is full ({capacity} bytes): come back later, or raise buffer.max_bytes"
    )


def _receipt(new: Fresh, seq: int) -> Receipt:
    count = new.entry.count
    if not count:
        return Receipt(0, duplicates=new.duplicates)
    return Receipt(count, new.duplicates, first_seq=seq, last_seq=seq + count - 1)


def _attributes(entries: list[Entry]) -> Attributes:
    if all(entry.attributes is None for entry in entries):
        return None
    return tuple(chain.from_iterable(e.attributes or (None,) * e.count for e in entries))
