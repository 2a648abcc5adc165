"""Putting entries into the log: all that wait of a stream at once, what is small in one segment."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from forebay.buffer.database import used_bytes
from forebay.buffer.dedup import Dedup, Fresh
from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferFault, BufferFull
from forebay.buffer.ledger import Outcome
from forebay.buffer.operations import Append
from forebay.buffer.options import WhenFull
from forebay.buffer.retention import give_up_oldest
from forebay.buffer.segment import Attributes, Packer, Piece, Row, Slice
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

        `used` is the size of the log so far, at most.
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
        packed = self._pack(transaction, group, fresh, now)
        need = sum([piece.row.space for piece in packed])
        if self._take(transaction, need, room) or (
            len(group) == 1 and self._make_room(transaction, need, room)
        ):
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

    def _take(self, transaction: Transaction, need: int, room: "_Room") -> bool:
        if room.take(need):
            return True
        room.left = self._capacity - used_bytes(transaction.database)  # so far it was an estimate
        return room.take(need)

    def _make_room(self, transaction: Transaction, need: int, room: "_Room") -> bool:
        """Drop the oldest events until there is room, where that is the policy and ever can be."""
        if self._policy is not WhenFull.DROP_OLDEST or need > self._most(transaction):
            return False
        while not self._take(transaction, need, room):
            if not give_up_oldest(transaction, Outcome.DROPPED):
                return False
        return True

    def _most(self, transaction: Transaction) -> int:
        """The bytes that events could have, beside what no dropping of events gives back."""
        kept = sum(sink.dead_letter_bytes for sink in transaction.sinks().values())
        return self._capacity - kept

    def _pack(
        self,
        transaction: Transaction,
        group: Sequence[Append],
        fresh: Sequence[Fresh],
        now: float,
    ) -> list["_Packed"]:
        packed: list[_Packed] = []
        pieces = self._pieces(group, fresh)
        if not pieces:
            return packed
        name, seq = group[0].entry.stream, transaction.next_seq
        stream = transaction.stream(name).id
        for piece in pieces:
            slice_ = Slice(name, seq, piece.events, now, piece.payload, piece.attributes)
            packed.append(_Packed(slice_, piece.at(seq, stream, now)))
            seq += piece.events
        return packed

    def _pieces(self, group: Sequence[Append], fresh: Sequence[Fresh]) -> list[Piece]:
        """What was packed before as it is, and what stands between joined."""
        pieces: list[Piece] = []
        loose: list[Entry] = []
        for append, new in zip(group, fresh, strict=True):
            if append.pieces is not None and new.entry is append.entry:
                pieces += self._join(loose)
                pieces += append.pieces
                loose = []
            elif new.entry.count:
                loose.append(new.entry)
        return pieces + self._join(loose)

    def _join(self, entries: list[Entry]) -> list[Piece]:
        if not entries:
            return []
        payload = b"\n".join([entry.payload for entry in entries])
        count = sum([entry.count for entry in entries])
        whole = Entry(entries[0].stream, payload, count, _attributes(entries))
        return self._packer.pack(whole)


class _Packed(NamedTuple):
    """Events as readers see them, and as they stand in the table."""

    slice: Slice
    row: Row


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
