"""Reading the log for one sink, from a position onwards: from memory what is new, else the file."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Final

import aiosqlite

from forebay.buffer.cursors import Cursor
from forebay.buffer.fetch import Damage, Fetcher, Found, Wanted
from forebay.buffer.ledger import Ledger, SinkState
from forebay.buffer.segment import Slice
from forebay.buffer.tail import Tail

__all__ = ["Damage", "LogReader", "Reading"]

_AT_ONCE: Final = 512
"""Slices that are gone through in one go: some 200 µs."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Events for a sink, and the stretch of the log in which they are all there is for it."""

    first: int
    """The first seq of the stretch."""
    last: int
    """The last one; below `first` when nothing was read."""
    slices: tuple[Slice, ...]


class LogReader:
    """Goes through the log once, in the order of seq, past what the sink is done with.

    It keeps what it unpacked and did not yet hand out: at most one segment more than was asked.
    One `read` or `ahead` at a time.
    """

    def __init__(
        self,
        name: str,
        ledger: Callable[[], Ledger],
        connection: aiosqlite.Connection,
        tail: Tail,
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._fetcher = Fetcher(connection)
        self._tail = tail
        self._streams = _Streams()
        self.position = self._cursor.position
        """Everything below was handed out."""
        self._ready: deque[Slice] = deque()
        self._ready_to = self.position
        """Everything below is in `_ready` or was handed out."""

    async def read(
        self, max_events: int, max_bytes: int, until: int | None = None
    ) -> Reading | Damage:
        """At most so many events and bytes of NDJSON, but one event at least where there is one.

        Slices are joined by newlines: each counts its payload and one byte. With `until`, which
        must not be below `position`, the stretch ends there at the latest.
        """
        self._forget_done()
        taken: list[Slice] = []
        first, events, size = self.position, max_events, max_bytes
        end = inf if until is None else until + 1
        while events > 0 and size > 0 and self._next < end:
            if not self._ready:
                damage = await self._fetch(events, size)
                if damage is not None and not taken and not self._ready:
                    return damage
                if not self._ready:
                    if damage is None and self._ready_to < self._ledger().next_seq:
                        continue  # all of that was done meanwhile
                    break
            whole = self._take_whole(events, size, end)
            if whole:
                taken += whole
                events -= sum([slice_.count for slice_ in whole])
                size -= sum([len(slice_.payload) + 1 for slice_ in whole])
                await asyncio.sleep(0)  # there may be thousands, and others wait
                continue
            if self._next >= end:
                break
            part = self._take_part(int(min(events, end - self._next)), size, force=not taken)
            if part is not None:
                taken.append(part)
            break
        self.position = int(min(self._next, end))
        return Reading(first, self.position - 1, tuple(taken))

    async def ahead(self, max_events: int, max_bytes: int) -> None:
        """Get so much ready for the next `read`, which need not be for as much.

        Nothing is handed out by that: what others are done with until then is left out.
        """
        events = max_events - sum(slice_.count for slice_ in self._ready)
        size = max_bytes - sum(len(slice_.payload) + 1 for slice_ in self._ready)
        while events > 0 and size > 0 and self._ready_to < self._ledger().next_seq:
            before = len(self._ready)
            if await self._fetch(events, size) is not None:
                return  # the `read` that gets there will tell
            for slice_ in islice(self._ready, before, None):
                events -= slice_.count
                size -= len(slice_.payload) + 1
            await asyncio.sleep(0)

    @property
    def _cursor(self) -> Cursor:
        return self._ledger().sinks[self._name].cursor

    @property
    def _next(self) -> int:
        """Below this there is nothing more for the sink."""
        return self._ready[0].first_seq if self._ready else self._ready_to

    def _forget_done(self) -> None:
        """What was got ready may have been dropped or have expired meanwhile."""
        cursor = self._cursor
        if self._ready and cursor.touches(self._ready[0].first_seq, self._ready[-1].next_seq - 1):
            self._ready = deque(part for each in self._ready for part in _open_parts(each, cursor))

    def _take_whole(self, events: int, size: int, end: float) -> list[Slice]:
        """The next slices, as many as fit uncut into so many events, bytes and seqs."""
        whole: list[Slice] = []
        while self._ready and len(whole) < _AT_ONCE:
            head = self._ready[0]
            if head.count > events or len(head.payload) > size or head.next_seq > end:
                break
            whole.append(self._ready.popleft())
            events, size = events - head.count, size - len(head.payload) - 1
        return whole

    def _take_part(self, events: int, size: int, *, force: bool) -> Slice | None:
        """As much of the next slice as fits, which is not all; or one event at least."""
        head = self._ready[0]
        fitting = min(events, head.fitting(size))
        if fitting == 0 and not force:
            return None
        if head.count == 1:
            return self._ready.popleft()
        head, self._ready[0] = head.split(max(fitting, 1))
        return head

    async def _fetch(self, events: int, size: int) -> Damage | None:
        """Append the next segments to `_ready`."""
        ledger = self._ledger()
        end, since = ledger.next_seq, self._cursor.next_open(self._ready_to)
        if since >= end:
            self._ready_to = since
            return None
        self._streams.refresh(ledger, ledger.sinks[self._name])
        found = self._recall(since, end, events, size)
        if found is None:
            wanted = Wanted(since, end, events, size, self._streams.ids, self._streams.all)
            found = await self._fetcher.fetch(wanted)
        cursor = self._cursor
        for slice_ in found.slices:
            if slice_.first_seq >= since and not cursor.touches(
                slice_.first_seq, slice_.next_seq - 1
            ):
                self._ready.append(slice_)
            else:
                self._ready.extend(_open_parts(slice_, cursor, since))
        if found.damage is not None:
            self._ready_to = max(since, found.damage.first_seq)
        elif found.to_end:
            self._ready_to = end
        elif found.slices:
            self._ready_to = found.slices[-1].next_seq
        return found.damage

    def _recall(self, since: int, end: int, events: int, size: int) -> Found | None:
        """What `fetch` would find, where all up to the log's end is in memory."""
        recent = self._tail.since(since, end)
        if recent is None:
            return None
        found = Found()
        for slice_ in recent:
            if slice_.stream not in self._streams.names:
                continue
            found.slices.append(slice_)
            events -= slice_.next_seq - max(slice_.first_seq, since)
            size -= len(slice_.payload) + 1
            if events <= 0 or size <= 0 or len(found.slices) == _AT_ONCE:
                return found
        found.to_end = True
        return found


class _Streams:
    """The streams that a sink takes. There may be many, and they only become more."""

    def __init__(self) -> None:
        self._known: tuple[int, tuple[str, ...]] = (0, ())
        self.ids: dict[int, str] = {}
        """Their names by their ids."""
        self.names: frozenset[str] = frozenset()

    @property
    def all(self) -> bool:
        """There are no others."""
        return len(self.ids) == self._known[0]

    def refresh(self, ledger: Ledger, sink: SinkState) -> None:
        """Look again, if there is anything new."""
        known = (len(ledger.streams), sink.streams)
        if known != self._known:
            self._known = known
            self.ids = {
                stream.id: name for name, stream in ledger.streams.items() if sink.takes(name)
            }
            self.names = frozenset(self.ids.values())


def _open_parts(slice_: Slice, cursor: Cursor, since: int = 0) -> Iterator[Slice]:
    """What of a slice is from `since` on and not done."""
    rest: Slice | None = slice_
    while rest is not None:
        begin = cursor.next_open(max(rest.first_seq, since))
        if begin >= rest.next_seq:
            return
        if begin > rest.first_seq:
            _, rest = rest.split(begin - rest.first_seq)
        end = next((low for low, _ in cursor.done if low > begin), rest.next_seq)
        if end >= rest.next_seq:
            yield rest
            return
        part, rest = rest.split(end - begin)
        yield part
