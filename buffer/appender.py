"""Putting entries into the log: one segment per stream, for all that wait at once."""

from collections.abc import Iterable, Sequence
from itertools import chain

from forebay.buffer.database import PAGE_SIZE
from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferFault, BufferFull
from forebay.buffer.operations import Append
from forebay.buffer.segment import Attributes, Packer, Row, chunks
from forebay.buffer.transaction import Transaction


class Appender:
    """Keeps the log within `capacity` bytes of pages."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._packer = Packer()

    def append(
        self, transaction: Transaction, appends: Sequence[Append], now: float, used: int
    ) -> None:
        """Store the entries, and set the result of each. `used` is the size of the log so far."""
        room = _Room(self._capacity - used)
        by_stream: dict[str, list[Append]] = {}
        for append in appends:
            by_stream.setdefault(append.entry.stream, []).append(append)
        for stream, group in by_stream.items():
            self._append(transaction, stream, group, now, room)

    def _append(
        self, transaction: Transaction, stream: str, group: list[Append], now: float, room: "_Room"
    ) -> None:
        entries = [append.entry for append in group]
        rows = self._pack(transaction, stream, entries, now)
        if room.take(rows):
            seq = transaction.next_seq
            for row in rows:
                transaction.insert(stream, row)
            for append in group:
                append.result = _receipt(append.entry, seq)
                seq += append.entry.count
        elif len(group) > 1:  # what is small may still fit
            for append in group:
                self._append(transaction, stream, [append], now, room)
        else:
            group[0].result = refusal(self._capacity)

    def _pack(
        self, transaction: Transaction, stream: str, entries: list[Entry], now: float
    ) -> list[Row]:
        filled = [entry for entry in entries if entry.count]
        if not filled:
            return []
        stream_id, seq, offset = transaction.stream(stream).id, transaction.next_seq, 0
        payload = b"\n".join([entry.payload for entry in filled])
        attributes = _attributes(filled)
        rows: list[Row] = []
        for piece, count in chunks(payload, sum(entry.count for entry in filled)):
            extra = attributes and attributes[offset : offset + count]
            row = self._packer.pack(
                piece, extra, first_seq=seq, events=count, stream=stream_id, received_at=now
            )
            rows.append(row)
            seq, offset = seq + count, offset + count
        return rows


class _Room:
    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, rows: Iterable[Row]) -> bool:
        need = sum(_pages(row) for row in rows) * PAGE_SIZE
        if need > self._left:
            return False
        self._left -= need
        return True


def _pages(row: Row) -> int:
    """Pages that a row takes at most: its overflow chains, and its place in the tree."""
    return (len(row.data) + len(row.attributes or b"")) // (PAGE_SIZE - 4) + 2


def refusal(capacity: int) -> BufferFault:
    """Why there is no room, and what to do."""
    return BufferFull(
        f"the buffer is full ({capacity} bytes): come back later, or raise buffer.max_bytes"
    )


def _receipt(entry: Entry, seq: int) -> Receipt:
    if not entry.count:
        return Receipt(0)
    return Receipt(entry.count, first_seq=seq, last_seq=seq + entry.count - 1)


def _attributes(entries: list[Entry]) -> Attributes:
    if all(entry.attributes is None for entry in entries):
        return None
    return tuple(chain.from_iterable(e.attributes or (None,) * e.count for e in entries))
