"""Reading the log for one sink, from a position onwards: from memory what is new, else the file."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import aiosqlite

from forebay.buffer.cursors import Cursor
from forebay.buffer.fetch import Damage, Fetcher, Found, Wanted
from forebay.buffer.ledger import Ledger, SinkState
from forebay.buffer.segment import Slice
from forebay.buffer.tail import Tail

__all__ = ["Damage", "LogReader", "Reading"]


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
                    break
            if self._next >= end:
                break
            events_here = int(min(events, end - self._next))
            part, whole = self._take(events_here, size, force=not taken)
            if part is not None:
                taken.append(part)
                events, size = events - part.count, size - len(part.payload) - 1
            if not whole:
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
            for index in range(before, len(self._ready)):
                events -= self._ready[index].count
                size -= len(self._ready[index].payload) + 1

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

    def _take(self, events: int, size: int, *, force: bool) -> tuple[Slice | None, bool]:
        """The next slice or as much of it as fits, and whether that was all of it."""
        head = self._ready[0]
        if head.count <= events and len(head.payload) <= size:
            return self._ready.popleft(), True
        fitting = min(events, head.fitting(size))
        if fitting == 0:
            if not force:
                return None, False
            fitting = 1
        if fitting >= head.count:
            return self._ready.popleft(), True
        head, self._ready[0] = head.split(fitting)
        return head, False

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
        """What `fetch` would find, where all of it is in memory."""
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
            if events <= 0 or size <= 0:
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
