"""The ledger: what the log knows about its streams and sinks, without reading any event.

The writer changes it in the same transaction as the events (what a segment alone adds to it may be
written later), and hands each commit's `Changes` to the event loop, which keeps a copy of its own:
so what the loop shows is always the state after one commit, never between two.
"""

from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec
from msgspec.structs import replace

from forebay.buffer.cursors import Cursor


class Outcome(StrEnum):
    """What became of events, per sink. Each is a column of the table `sinks`."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"
    DROPPED = "dropped"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"
    POSSIBLE_DUPLICATE = "possible_duplicate"
    """Counts beside the others: events sent again after an answer that never came."""


class Stream(msgspec.Struct, frozen=True):
    """A stream, and how many of its events were ever appended, and are stored now."""

    id: int
    events_total: int = 0
    stored: int = 0


class SinkState(msgspec.Struct, frozen=True):
    """A sink as the log sees it: where it is, and what became of its events. Counts of events."""

    streams: tuple[str, ...]
    cursor: Cursor
    routed: int = 0
    replayed: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    expired: int = 0
    quarantined: int = 0
    possible_duplicate: int = 0
    dead_letters: int = 0
    """Dead letters that are kept now, those back in line not among them."""
    dead_letter_bytes: int = 0
    """The size of all letters' events, those back in line among them."""
    discarded: int = 0
    """Dead letters ever deleted because there were too many or they were too old."""
    notes: str = "{}"
    """What the delivery keeps for itself, as a JSON object."""
    in_flight: tuple[tuple[int, int], ...] = ()
    """Batches that were sent, or were about to be, as pairs of first and last seq."""
    routed_bytes: int = 0
    """Bytes of NDJSON routed since the file was opened; not kept in it."""
    abandoned_at: int | None = None
    """The next seq when the sink left the configuration: from there on it takes nothing."""

    @property
    def lag(self) -> int:
        """Events that still wait for this sink."""
        return (
            self.routed + self.replayed
            - self.delivered - self.dead_lettered - self.dropped - self.expired - self.quarantined
        )  # fmt: skip

    @property
    def came(self) -> int:
        """Events that were ever put in line for this sink."""
        return self.routed + self.replayed

    @property
    def subscription(self) -> tuple[tuple[str, ...], int | None]:
        """What decides which events are routed to the sink."""
        return self.streams, self.abandoned_at

    def takes(self, stream: str) -> bool:
        """Whether the sink subscribes to `stream`."""
        return any(fnmatchcase(stream, glob) for glob in self.streams)

    def takes_at(self, stream: str, seq: int) -> bool:
        """Whether an event of `stream` with that seq was routed to the sink."""
        return (self.abandoned_at is None or seq < self.abandoned_at) and self.takes(stream)

    def counted(self, outcomes: dict[Outcome, int]) -> "SinkState":
        """This state with `outcomes` added."""
        changes: dict[str, int] = {
            outcome.value: getattr(self, outcome.value) + events
            for outcome, events in outcomes.items()
        }
        return replace(self, **changes)


class Changes(msgspec.Struct):
    """What commits changed; a None means that they did not."""

    segments: int = 0
    """Segments that were appended."""
    grown: int = 0
    """Bytes of pages that these take at most."""
    counted: bool = False
    """The counters in the file were brought up to date."""
    next_seq: int | None = None
    stored_from: int | None = None
    """No segment that begins below this seq is stored any more."""
    used_bytes: int | None = None
    oldest_at: float | None = None
    quarantined: int | None = None
    streams: dict[str, Stream] = msgspec.field(default_factory=dict)
    sinks: dict[str, SinkState | None] = msgspec.field(default_factory=dict)
    """A sink that is None was forgotten."""


class Ledger(msgspec.Struct):
    """The sum of all changes so far."""

    instance: str
    next_seq: int
    used_bytes: int = 0
    oldest_at: float = 0.0
    """When the oldest stored event came, in seconds since the epoch; 0 without any."""
    quarantined: int = 0
    """Segments ever set aside."""
    streams: dict[str, Stream] = msgspec.field(default_factory=dict)
    sinks: dict[str, SinkState] = msgspec.field(default_factory=dict)
    uncounted: Changes = msgspec.field(default_factory=Changes)
    """What the last segments added, and the counters in the file do not have yet."""
    _routes: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    @property
    def events(self) -> int:
        """Events that are stored and not yet done with."""
        stored = sum(stream.stored for stream in self.streams.values())
        return min(stored, self.next_seq - self.first_seq)

    @property
    def first_seq(self) -> int:
        """The first seq that some sink is not yet done with."""
        if not self.sinks:
            return 1
        waiting = [sink.cursor.position for sink in self.sinks.values() if sink.lag]
        return min(waiting, default=self.next_seq)

    def acked_seq(self, sink: SinkState) -> int:
        """The seq up to which a sink is done with everything."""
        return (sink.cursor.position if sink.lag else self.next_seq) - 1

    def subscribers(self, stream: str) -> tuple[str, ...]:
        """The names of the sinks that take `stream`."""
        if (names := self._routes.get(stream)) is None:
            names = tuple(
                name for name, sink in self.sinks.items() if sink.takes_at(stream, self.next_seq)
            )
            if len(self._routes) >= _ROUTES_REMEMBERED:
                self._routes.clear()
            self._routes[stream] = names
        return names

    def losses(self, changes: Changes) -> dict[tuple[str, Outcome], int]:
        """Events that `changes`, before they are merged, drop or expire: by sink and outcome."""
        more = {
            (name, outcome): getattr(sink, outcome) - getattr(before, outcome)
            for name, sink in changes.sinks.items()
            if sink is not None and (before := self.sinks.get(name))
            for outcome in (Outcome.DROPPED, Outcome.EXPIRED)
        }
        return {key: events for key, events in more.items() if events}

    def merge(self, changes: Changes) -> None:
        """Take over what a commit changed."""
        for name, sink in changes.sinks.items():
            self._merge_sink(name, sink)
        if changes.next_seq is not None:
            self.next_seq = changes.next_seq
        if changes.used_bytes is not None:
            self.used_bytes = changes.used_bytes
        if changes.oldest_at is not None:
            self.oldest_at = changes.oldest_at
        if changes.quarantined is not None:
            self.quarantined = changes.quarantined
        self.streams.update(changes.streams)
        self._merge_uncounted(changes)

    def _merge_uncounted(self, changes: Changes) -> None:
        if changes.counted:
            self.uncounted = Changes()
        elif changes.segments:
            self.uncounted.segments += changes.segments
            self.uncounted.streams.update(changes.streams)
            self.uncounted.sinks.update(changes.sinks)

    def _merge_sink(self, name: str, sink: SinkState | None) -> None:
        before = self.sinks.get(name)
        if sink is None:
            self.sinks.pop(name, None)
        else:
            self.sinks[name] = sink
        if sink is None or before is None or before.subscription != sink.subscription:
            self._routes.clear()


_ROUTES_REMEMBERED = 10_000
"""Stream names are made by clients; this bounds the memory that they can cost."""
