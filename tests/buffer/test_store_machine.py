"""Any order of calls against a model in plain Python: the accounting identity, the lag and what
a reader hands out are compared after every step.
"""

import asyncio
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from buffer_kit import Event, WallClock, drain, entry, events_of, rows
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from forebay.buffer import (
    BufferOptions,
    Damage,
    DeadLetter,
    Durability,
    LogReader,
    Outcome,
    Reading,
    Selection,
    Store,
)

STREAMS = ("a.x", "a.y", "b.x", "c")
SINKS = ("s1", "s2", "s3")
GLOBS = (("*",), ("a.*",), ("b.*", "c"), ("a.x", "b.x"), ("none",))
MAX_AGE = timedelta(hours=1)
OUTCOMES = ("delivered", "dead_lettered", "dropped", "expired", "quarantined")
COUNTED = ("routed", "replayed", *OUTCOMES)

some_events = st.lists(st.sampled_from((b'{"n":1}', b'{"name":"a long one"}', b"{}")), max_size=5)
stored = st.tuples(st.sampled_from(STREAMS), some_events, st.booleans())


@dataclass
class ModelSink:
    globs: tuple[str, ...]
    start: int
    done: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    def takes(self, stream: str) -> bool:
        return any(fnmatchcase(stream, glob) for glob in self.globs)

    def waits_for(self, event: Event) -> bool:
        return event.seq >= self.start and event.seq not in self.done and self.takes(event.stream)

    @property
    def lag(self) -> int:
        outcomes = sum(self.counts[outcome] for outcome in OUTCOMES)
        return self.counts["routed"] + self.counts["replayed"] - outcomes

    @property
    def position(self) -> int:
        position = self.start
        while position in self.done:
            position += 1
        return position


@dataclass
class Flight:
    """What a reader handed out, until it is settled."""

    sink: str
    first: int
    last: int
    events: list[Event]


class StoreMachine(RuleBasedStateMachine):
    steps = 0

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.options = BufferOptions(
            path=self.folder / "buffer.db", durability=Durability.OS, max_age=MAX_AGE
        )
        self.clock = WallClock()
        self.runner = asyncio.Runner()
        self.log: dict[int, Event] = {}
        self.segments: dict[int, int] = {}
        self.received: dict[int, float] = {}
        self.next_seq = 1
        self.totals: dict[str, int] = {}
        self.sinks: dict[str, ModelSink] = {}
        self.gone: set[int] = set()
        self.readers: dict[str, LogReader] = {}
        self.flights: list[Flight] = []
        self._open()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    def _open(self) -> None:
        self.store = Store(self.options, wall=self.clock)
        self.runner.run(self.store.open())

    # ── rules ────────────────────────────────────────────────────────────────────────────────

    @rule(entries=st.lists(stored, min_size=1, max_size=4))
    def append(self, entries: list[tuple[str, list[bytes], bool]]) -> None:
        async def run() -> list[tuple[int, int | None, int | None]]:
            futures = [
                self.store.append(
                    entry(stream, *lines, attributes=_attributes(lines) if extra else None)
                )
                for stream, lines, extra in entries
            ]
            receipts = [await future for future in futures]
            return [(r.accepted, r.first_seq, r.last_seq) for r in receipts]

        assert self.runner.run(run()) == self._append(entries)

    def _append(
        self, entries: list[tuple[str, list[bytes], bool]]
    ) -> list[tuple[int, int | None, int | None]]:
        receipts: dict[int, tuple[int, int | None, int | None]] = {}
        for stream in dict.fromkeys(stream for stream, _, _ in entries):
            first = self.next_seq
            for index, (other, lines, extra) in enumerate(entries):
                if other == stream:
                    receipts[index] = self._append_one(stream, lines, extra=extra)
            if self.next_seq > first:
                self.segments[first] = self.next_seq - first
                self.received[first] = self.clock.now
        return [receipts[index] for index in range(len(entries))]

    def _append_one(
        self, stream: str, lines: list[bytes], *, extra: bool
    ) -> tuple[int, int | None, int | None]:
        if not lines:
            return 0, None, None
        first = self.next_seq
        for line, attributes in zip(lines, _attributes(lines), strict=True):
            self.log[self.next_seq] = Event(
                self.next_seq, stream, line, attributes if extra else None
            )
            self.next_seq += 1
        self.totals[stream] = self.totals.get(stream, 0) + len(lines)
        for sink in self.sinks.values():
            if sink.takes(stream) and not sink.lag:
                sink.start = first  # whatever was for others is passed over
            sink.counts["routed"] += len(lines) * sink.takes(stream)
        return len(lines), first, self.next_seq - 1

    @rule(name=st.sampled_from(SINKS), globs=st.sampled_from(GLOBS), now=st.booleans())
    def subscribe(self, name: str, globs: tuple[str, ...], now: bool) -> None:
        self.runner.run(self.store.subscribe(name, globs, start_now=now))
        if name not in self.sinks:
            oldest = min(self.segments, default=self.next_seq)
            self.sinks[name] = ModelSink((), self.next_seq if now else oldest)
        sink = self.sinks[name]
        before = self._waiting(name)
        sink.globs = globs
        after = self._waiting(name)
        sink.counts["routed"] += len(set(after) - set(before))
        sink.counts["dropped"] += len(set(before) - set(after))
        self.readers.pop(name, None)
        self.flights = [flight for flight in self.flights if flight.sink != name]

    @precondition(lambda self: self.sinks)
    @rule(
        data=st.data(),
        max_events=st.sampled_from((1, 2, 3, 7, 1000)),
        max_bytes=st.sampled_from((1, 8, 20, 60, 100_000)),
    )
    def read(self, data: st.DataObject, max_events: int, max_bytes: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.sinks)))
        if name not in self.readers:
            self.readers[name] = self.store.reader(name)
            self.flights = [flight for flight in self.flights if flight.sink != name]
        reading = self.runner.run(self.readers[name].read(max_events, max_bytes))
        assert isinstance(reading, Reading)
        found = events_of(reading)
        size = sum(len(event.data) + 1 for event in found) - 1
        assert len(found) <= max_events
        assert size <= max_bytes or len(found) == 1
        waiting = self._waiting(name)
        stretch = [event for seq, event in waiting.items() if reading.first <= seq <= reading.last]
        assert [event for event in found if event.seq not in self.gone] == stretch
        following = next((e for seq, e in waiting.items() if seq > reading.last), None)
        stale = any(seq >= reading.first for seq in self.gone)  # unpacked before it went
        if following is not None and len(found) < max_events and not stale:
            assert size + 1 + len(following.data) > max_bytes, "there was room for one more"
        if reading.first <= reading.last:
            self.flights.append(Flight(name, reading.first, reading.last, found))

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), partly=st.booleans(), refused=st.booleans(), again=st.booleans())
    def settle(self, data: st.DataObject, partly: bool, refused: bool, again: bool) -> None:
        flight = self.flights.pop(data.draw(st.integers(0, len(self.flights) - 1)))
        if partly and len(flight.events) > 1:
            cut = data.draw(st.integers(1, len(flight.events) - 1))
            last = flight.events[cut - 1].seq
            self.flights.append(Flight(flight.sink, last + 1, flight.last, flight.events[cut:]))
            flight = Flight(flight.sink, flight.first, last, flight.events[:cut])
        buried = flight.events[:1] if refused else []
        outcomes = {Outcome.DELIVERED: len(flight.events) - len(buried)}
        outcomes[Outcome.DEAD_LETTERED] = len(buried)
        letters = [_letter(flight.sink, event) for event in buried]
        for _ in range(1 + again):
            self.store.settle(flight.sink, flight.first, flight.last, outcomes, letters)
        self.runner.run(self.store.flush())
        self._settle(flight, len(buried))

    def _settle(self, flight: Flight, buried: int) -> None:
        sink = self.sinks[flight.sink]
        waiting = [seq for seq in self._waiting(flight.sink) if flight.first <= seq <= flight.last]
        dead = min(buried, len(waiting))
        sink.counts["dead_lettered"] += dead
        sink.counts["delivered"] += len(waiting) - dead
        sink.done.update(range(flight.first, flight.last + 1))

    @precondition(lambda self: self.sinks)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.sinks)))
        self.sinks[name].counts["replayed"] += self.runner.run(
            self.store.replay(Selection(sink=name))
        )

    @precondition(lambda self: self.sinks)
    @rule(data=st.data(), delivered=st.booleans())
    def settle_replayed(self, data: st.DataObject, delivered: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.sinks)))

        async def run() -> int:
            letters = await self.store.replaying(name, 1)
            if delivered:
                self.store.settle_replayed(name, delivered=[letter.id for letter in letters])
            else:
                self.store.settle_replayed(name, refused=letters)
            await self.store.flush()
            return len(letters)

        outcome = "delivered" if delivered else "dead_lettered"
        self.sinks[name].counts[outcome] += self.runner.run(run())

    @precondition(lambda self: self.segments)
    @rule(data=st.data())
    def quarantine(self, data: st.DataObject) -> None:
        first = data.draw(st.sampled_from(sorted(self.segments)))
        self.runner.run(self.store.quarantine(Damage(first, "a test")))
        gone = range(first, first + self.segments[first])
        for sink in self.sinks.values():
            if waiting := sum(sink.waits_for(self.log[seq]) for seq in gone):
                sink.counts["quarantined"] += waiting
                sink.done.update(gone)
        self._forget(first)
        self.gone.update(gone)

    @rule(minutes=st.integers(1, 50))
    def let_time_pass(self, minutes: int) -> None:
        self.clock.now += 60.0 * minutes

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self._open()
        self.readers.clear()
        self.flights.clear()

    # ── after every step ─────────────────────────────────────────────────────────────────────

    def _waiting(self, name: str) -> dict[int, Event]:
        return {seq: e for seq, e in self.log.items() if self.sinks[name].waits_for(e)}

    def _expire(self) -> None:
        for first in sorted(self.segments):
            if self.received[first] > self.clock.now - MAX_AGE.total_seconds():
                return
            last = first + self.segments[first] - 1
            for name, sink in self.sinks.items():
                waiting = [seq for seq in self._waiting(name) if first <= seq <= last]
                sink.counts["expired"] += len(waiting)
                sink.done.update(range(sink.start, last + 1))
            self._forget(first)
            self.gone.update(range(first, last + 1))

    def _forget(self, first: int) -> None:
        for seq in range(first, first + self.segments.pop(first)):
            del self.log[seq]

    def _trim(self) -> None:
        busy = [sink for name, sink in self.sinks.items() if self.store.sink(name).lag]
        below = min((sink.position for sink in busy), default=self.next_seq)
        for first, count in list(self.segments.items()):
            if self.sinks and first + count <= below:
                self._forget(first)

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        type(self).steps += 1
        self.runner.run(self.store.tidy())
        self._expire()
        self._trim()
        for name, model in self.sinks.items():
            self._compare(name, model)
        assert dict(rows(self.options.path, "SELECT first_seq, events FROM segments")) == (
            self.segments
        )
        ledger = self.store.ledger
        assert ledger.next_seq == self.next_seq
        assert sum(stream.stored for stream in ledger.streams.values()) == len(self.log)
        assert {
            name: s.events_total for name, s in ledger.streams.items() if s.events_total
        } == self.totals
        assert (ledger.oldest_at > 0) == bool(self.segments)

    def _compare(self, name: str, model: ModelSink) -> None:
        sink, waiting = self.store.sink(name), list(self._waiting(name).values())
        assert {key: getattr(sink, key) for key in COUNTED} == model.counts
        routed = sink.routed + sink.replayed
        assert routed == sum(getattr(sink, key) for key in OUTCOMES) + sink.lag
        replaying = self.runner.run(self.store.replaying(name, 1000))
        assert sink.lag == len(waiting) + len(replaying)
        assert self.runner.run(drain(self.store, name)) == waiting


def _attributes(lines: list[bytes]) -> tuple[dict[str, str] | None, ...]:
    return tuple({"id": str(index)} if index % 2 else None for index, _ in enumerate(lines))


def _letter(sink: str, event: Event) -> DeadLetter:
    return DeadLetter(sink, event.stream, event.seq, 1.0, 2.0, 1, 400, "no", event.data)


# FOREBAY_MACHINE_EXAMPLES=1000 looks longer, and elsewhere each time.
TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=int(os.environ.get("FOREBAY_MACHINE_EXAMPLES", "25")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="FOREBAY_MACHINE_EXAMPLES" not in os.environ,
    phases=(Phase.explicit, Phase.generate),  # shrinking would take minutes
)
