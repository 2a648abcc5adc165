"""One pipeline per sink, and nothing shared between two of them.

    read ──► batch ──► gate ──► send ──► settle | retry | split | hold | dead letter

`run` collects batches; each is delivered by a task of its own, of which the window allows one (in
strict order) or several.
"""

import asyncio
import json
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any

import structlog

from forebay.buffer import BufferFault, Damage, Reading, SinkState
from forebay.buffer.crash import point
from forebay.daemon.delivery.batcher import Batcher
from forebay.daemon.delivery.breaker import State
from forebay.daemon.delivery.dispatch import Dispatch
from forebay.daemon.delivery.gate import Gate
from forebay.daemon.delivery.lanes import Lanes
from forebay.daemon.delivery.options import DeliveryOptions, Order
from forebay.daemon.delivery.surroundings import Surroundings
from forebay.daemon.delivery.window import Window
from forebay.daemon.delivery.work import Work, from_letters, from_log
from forebay.sinks import Sink, Unit

_REPLAYED_AT_ONCE = 1000
_UNBOUNDED = 2**31


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """How a pipeline is doing. `retry_at` is in seconds since the epoch."""

    state: str
    paused: bool
    breaker: str
    retry_at: float | None
    last_error: dict[str, Any] | None
    in_flight: int
    lag_seconds: float


class Pipeline:
    """From `run` until `drain` (or cancellation). The sink must be subscribed in the store."""

    def __init__(
        self, name: str, sink: Sink, options: DeliveryOptions, around: Surroundings
    ) -> None:
        self.name = name
        self._sink = sink
        self._store, self._clock = around.store, around.clock
        self._batcher = Batcher(options.batch)
        self._gate = Gate(options.retry, options.breaker, sink.limits, around.random)
        in_order = options.order is Order.STRICT or sink.ordered
        self._window = Window(1 if in_order else options.max_in_flight)
        self._lanes = (
            Lanes(options.partition_by, options.max_in_flight)
            if options.partition_by and not sink.ordered
            else None
        )
        self._dispatch = Dispatch(name, sink, options, around, gate=self._gate, window=self._window)
        self._reader = around.store.reader(name)
        self._wake = asyncio.Event()
        self._sleeps_until = -inf
        """When it wakes by itself from a sleep that new events may end; -inf in any other."""
        self._origin = f"{around.store.ledger.instance}/{name}"
        self._works: set[Work] = set()
        self._replaying = False
        self._replays_seen = 0
        self.draining = asyncio.Event()
        """Set once nothing more is to be started."""
        self._log = structlog.get_logger().bind(sink=name)
        self._recall()
        around.store.watch(name, self._arrived)

    def _recall(self) -> None:
        """Take up what an earlier process left: events that wait, windows of quotas."""
        sink = self._store.sink(self.name)
        self._seen, self._seen_bytes = sink.routed, sink.routed_bytes
        self._batcher.arrived(sink.lag, 0, -inf)
        self._recorded = deque(sorted(sink.in_flight))
        saved = json.loads(sink.notes).get("quotas", {})
        self._gate.quotas.restore(saved, self._clock.monotonic(), self._clock.wall())

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Deliver until `drain`; then return when the sends under way have ended."""
        await self._sink.open()
        try:
            async with asyncio.TaskGroup() as sends:
                while not self.draining.is_set():
                    self._wake.clear()
                    await self._step(sends)
        finally:
            await self._sink.close()

    def drain(self) -> None:
        """Start nothing more."""
        self.draining.set()
        self._dispatch.drain()
        self._wake.set()

    async def _step(self, sends: asyncio.TaskGroup) -> None:
        """Start what is due, or wait for it."""
        if not self._window.free:
            if self._batcher.full and not self._recorded:
                with suppress(BufferFault):  # the `read` that gets there will tell
                    await self._reader.ahead(*self._most())
            await self._clock.wait(self._wake, inf)
            return
        seconds = self._batcher.wait(self._clock.monotonic())
        if seconds and not self._replay_due():
            self._sleeps_until = self._batcher.due
            await self._clock.wait(self._wake, seconds)
            self._sleeps_until = -inf
            return
        work = await (self._next_letters() if self._replay_due() else self._next_batch())
        if work is not None:
            self._window.start()
            self._works.add(work)
            sends.create_task(self._deliver(work), name=f"{self.name} {work.batch.id}")

    async def _deliver(self, work: Work) -> None:
        try:
            await self._deliver_lanes(work)
        finally:
            if work.letters and not self.draining.is_set():
                await self._store.flush()  # or they would be read again
                self._replaying = False
            self._works.discard(work)
            self._window.end()
            self._wake.set()

    async def _deliver_lanes(self, work: Work) -> None:
        if self._lanes is None or work.letters:
            await self._dispatch.deliver(work)
            return
        async with asyncio.TaskGroup() as group:
            for lane in await asyncio.to_thread(self._lanes.split, work):
                group.create_task(self._dispatch.deliver(lane))

    # ── what comes next ──────────────────────────────────────────────────────────────────────

    def _arrived(self, sink: SinkState) -> None:
        """Tell the batcher what came with a commit, and wake up if that is due before all else.

        Called for each commit: whoever cannot send for now is not woken, nor who waits for more.
        """
        size = max(sink.routed_bytes - self._seen_bytes, 0)
        self._batcher.arrived(sink.routed - self._seen, size, self._clock.monotonic())
        self._seen, self._seen_bytes = sink.routed, sink.routed_bytes
        if self._sleeps_until > -inf and (
            self._batcher.due < self._sleeps_until or self._replay_due()
        ):
            self._wake.set()

    async def _next_batch(self) -> Work | None:
        """The next batch: first those that an earlier process sent, with the same boundaries."""
        recorded = self._recorded.popleft() if self._recorded else None
        reading = await self._read(recorded)
        if isinstance(reading, Damage):
            self._log.error("buffer.quarantined", segment=reading.first_seq, why=reading.reason)
            await self._store.quarantine(reading)
            return None
        if not reading.slices:
            # What came while the file was read lies behind `position`: the next step reads it.
            if recorded is None and self._reader.position >= self._store.ledger.next_seq:
                self._batcher.forget()
            self._store.settle(self.name, reading.first, reading.last, {})
            return None
        work = from_log(self._origin, reading)
        point("delivery.read")
        if recorded is not None:
            work = work.again(ambiguous=True)  # nobody knows whether it arrived
        elif self._sink.identified:
            await self._store.record(self.name, reading.first, reading.last)
            point("delivery.recorded")
        self._batcher.taken(work.batch.count, work.batch.nbytes)
        return work

    async def _read(self, recorded: tuple[int, int] | None) -> Reading | Damage:
        if recorded is None:
            return await self._reader.read(*self._most())
        first, last = recorded
        if last < self._reader.position:
            return Reading(first, first - 1, ())
        return await self._reader.read(_UNBOUNDED, _UNBOUNDED, until=last)

    def _most(self) -> tuple[int, int]:
        """How many events and bytes the next batch may have."""
        limits = self._sink.limits
        events = [self._batcher.max_events, limits.events, self._dispatch.largest]
        events += [quota.amount for quota in limits.quotas if quota.unit is Unit.EVENTS]
        size = min(self._batcher.max_bytes, limits.nbytes or self._batcher.max_bytes)
        return min(most for most in events if most is not None), size

    def _replay_due(self) -> bool:
        """Whether dead letters are back in line; their batches go one at a time."""
        return not self._replaying and self._store.sink(self.name).replayed != self._replays_seen

    async def _next_letters(self) -> Work | None:
        events, size = self._most()
        replayed = self._store.sink(self.name).replayed
        letters = await self._store.replaying(self.name, min(events, _REPLAYED_AT_ONCE))
        while len(letters) > 1 and sum(len(letter.event) + 1 for letter in letters) > size:
            letters = letters[: len(letters) // 2]
        if not letters:
            self._replays_seen = replayed
            return None
        self._replaying = True
        return from_letters(self._origin, letters)

    # ── for people ───────────────────────────────────────────────────────────────────────────

    def pause(self) -> None:
        """Send nothing until `resume`."""
        self._gate.paused = True
        self._log.info("sink.paused")

    def resume(self) -> None:
        """Undo `pause`."""
        self._gate.paused = False
        self._dispatch.changed()
        self._log.info("sink.resumed")

    def probe(self) -> None:
        """Let one send go now, whatever the breaker, a hold or a back-off say."""
        self._gate.probe(self._clock.monotonic())
        self._dispatch.changed()

    @property
    def breaker(self) -> State:
        """The breaker's state."""
        return self._gate.breaker.state

    def lag_seconds(self) -> float:
        """The age of the oldest event that waits for this sink."""
        if not self._store.sink(self.name).lag:
            return 0.0
        held = min((work.received_at for work in self._works), default=None)
        if held is not None:
            return max(self._clock.wall() - held, 0.0)
        since = self._batcher.since
        return 0.0 if since in (None, -inf) else max(self._clock.monotonic() - since, 0.0)

    def status(self) -> PipelineStatus:
        """What a person wants to know."""
        sink, wait = self._store.sink(self.name), self._gate.reason(self._clock.monotonic())
        state = wait.reason.value if wait else "running" if sink.lag else "idle"
        retry_at = None
        if wait is not None and 0 < wait.seconds < inf:
            retry_at = self._clock.wall() + wait.seconds
        return PipelineStatus(
            state=state,
            paused=self._gate.paused,
            breaker=self._gate.breaker.state.value,
            retry_at=retry_at,
            last_error=self._dispatch.last_error,
            in_flight=self._window.under_way,
            lag_seconds=self.lag_seconds(),
        )
