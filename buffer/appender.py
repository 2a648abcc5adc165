"""Putting entries into the log: one segment per stream, for all that wait at once."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from forebay.buffer.database import PAGE_SIZE, used_bytes
from forebay.buffer.dedup import Dedup, Fresh
from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferFault, BufferFull
from forebay.buffer.ledger import Outcome
from forebay.buffer.operations import Append
from forebay.buffer.options import WhenFull
from forebay.buffer.retention import give_up_oldest
from forebay.buffer.segment import Attributes, Packer, Row, Slice, chunks
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
    ) -> list[Slice]:
        """Store the entries, and set the result of each; what was stored, in the order of seq.

        `used` is the size of the log so far.
        """
        room = _Room(self._capacity - used)
        by_stream: dict[str, list[Append]] = {}
        for append in appends:
            by_stream.setdefault(append.entry.stream, []).append(append)
        stored: list[Slice] = []
        for group in by_stream.values():
            stored += self._append(transaction, group, now, room)
        return stored

    def _append(
        self, transaction: Transaction, group: list[Append], now: float, room: "_Room"
    ) -> list[Slice]:
        """Append entries of one stream: all in one, or each for itself where there is no room."""
        entries = [append.entry for append in group]
        fresh = self._dedup.fresh(transaction, entries, now)
        packed = self._pack(transaction, [new.entry for new in fresh if new.entry.count], now)
        need = sum(piece.need for piece in packed)
        if room.take(need) or (len(group) == 1 and self._make_room(transaction, need, room)):
            return self._store(transaction, group, fresh, packed, now)
        if len(group) > 1:  # what is small may still fit
            return [
                slice_
                for append in group
                for slice_ in self._append(transaction, [append], now, room)
            ]
        self._turn_away(transaction, group[0], fresh[0])
        return []

    def _turn_away(self, transaction: Transaction, append: Append, new: Fresh) -> None:
        if self._policy is WhenFull.DROP_NEWEST:
            transaction.dropped(new.entry.stream, new.entry.count)
            append.result = Receipt(0, new.duplicates, dropped=new.entry.count)
        else:
            append.result = refusal(self._capacity)

    def _store(
        self,
        transaction: Transaction,
        group: Sequence[Append],
        fresh: Sequence[Fresh],
        packed: Sequence["_Packed"],
        now: float,
    ) -> list[Slice]:
        seq = transaction.next_seq
        for slice_, row in packed:
            transaction.insert(slice_.stream, row)
        for append, new in zip(group, fresh, strict=True):
            self._dedup.keep(transaction, new.keys, now)
            append.result = _receipt(new, seq)
            seq += new.entry.count
        return [piece.slice for piece in packed]

    def _make_room(self, transaction: Transaction, need: int, room: "_Room") -> bool:
        """Drop the oldest events until there is room, where that is the policy and ever can be."""
        if self._policy is not WhenFull.DROP_OLDEST or need > self._most(transaction):
            return False
        while not room.take(need):
            if not give_up_oldest(transaction, Outcome.DROPPED):
                return False
            room.left = self._capacity - used_bytes(transaction.database)
        return True

    def _most(self, transaction: Transaction) -> int:
        """The bytes that events could have, beside what no dropping of events gives back."""
        kept = sum(sink.dead_letter_bytes for sink in transaction.sinks().values())
        return self._capacity - kept

    def _pack(self, transaction: Transaction, entries: list[Entry], now: float) -> list["_Packed"]:
        if not entries:
            return []
        name, seq, offset = entries[0].stream, transaction.next_seq, 0
        stream_id = transaction.stream(name).id
        payload = b"\n".join([entry.payload for entry in entries])
        attributes = _attributes(entries)
        packed: list[_Packed] = []
        for piece, count in chunks(payload, sum(entry.count for entry in entries)):
            extra = attributes and attributes[offset : offset + count]
            row = self._packer.pack(
                piece, extra, first_seq=seq, events=count, stream=stream_id, received_at=now
            )
            packed.append(_Packed(Slice(name, seq, count, now, piece, extra), row))
            seq, offset = seq + count, offset + count
        return packed


class _Packed(NamedTuple):
    """Events as readers see them, and as they stand in the table."""

    slice: Slice
    row: Row

    @property
    def need(self) -> int:
        """Bytes of the pages that the row takes at most: overflow chains, places in the tree."""
        size = len(self.row.data) + len(self.row.attributes or b"")
        return PAGE_SIZE * (size // (PAGE_SIZE - 4) + 2)


class _Room:
    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, need: int) -> bool:
        if need > max(self.left, 0):  # what needs none fits into a log that is over its limit
            return False
        self.left -= need
        return True


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
    if not any(entry.attributes for entry in entries):
        return None
    return tuple(chain.from_iterable(e.attributes or (None,) * e.count for e in entries))
