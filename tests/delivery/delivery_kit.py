"""A world of a real store, pipelines, scripted sinks, and a clock that stands still until the test
moves it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any, Self

from clock import ManualClock
from prometheus_client import CollectorRegistry
from scripted_sink import HANG as HANG
from scripted_sink import Place as Place
from scripted_sink import Scripted as Scripted
from scripted_sink import ScriptedSink as ScriptedSink

from forebay.buffer import BufferOptions, Durability, Entry, SinkState, Store
from forebay.daemon.collector import StateCollector
from forebay.daemon.delivery.options import DeliveryOptions
from forebay.daemon.delivery.pipeline import Pipeline
from forebay.daemon.delivery.surroundings import Surroundings
from forebay.daemon.metrics import DeliveryMetrics
from forebay.sinks import Context, Limits


def options(**changes: Any) -> DeliveryOptions:
    """The defaults, but for `changes`: tables as dictionaries, durations in seconds."""
    return DeliveryOptions.model_validate(_durations(changes))


_SECONDS = {"linger", "base", "cap", "open_for", "open_cap", "timeout"}


def _durations(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _durations(value) if isinstance(value, dict)
        else timedelta(seconds=value) if key in _SECONDS
        else value
        for key, value in table.items()
    }  # fmt: skip


@dataclass
class Running:
    """One sink of a world: what a restart needs to build it again."""

    place: Place
    options: DeliveryOptions
    limits: Limits | None
    pipeline: Pipeline
    task: asyncio.Task[None]


class World:
    """A store in a file, a clock, and pipelines. `async with World(path) as world:`."""

    def __init__(
        self, path: Path, *, random: Callable[[], float] = lambda: 0.5, **buffer: Any
    ) -> None:
        self.clock = ManualClock()
        self.sinks: dict[str, Running] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self.errors: list[BaseException] = []
        # What an event survives makes no difference to these tests, but for speed.
        self._buffer = BufferOptions(path=path / "buffer.db", durability=Durability.OS, **buffer)
        self._random = random
        self.store = self._new_store()

    async def __aenter__(self) -> Self:
        await self.store.open()
        self._surround()
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self.sinks):
            await self.kill(name)
        await self.store.close()

    def _new_store(self) -> Store:
        return Store(self._buffer, wall=self.clock.wall)

    def _surround(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = DeliveryMetrics(self.registry)
        self.around = Surroundings(self.store, self.clock, self.metrics, self._random)
        self.collector = StateCollector(self.store, lambda: self.pipelines, self.clock)
        self.registry.register(self.collector)

    # ── building ─────────────────────────────────────────────────────────────────────────────

    async def add(self, name: str = "s", *, limits: Limits | None = None, **changes: Any) -> Place:
        """A sink with its pipeline, running."""
        place, opts = Place(self.clock), options(**changes)
        await self.store.subscribe(name, opts.streams, start_now=False)
        self._run(name, place, opts, limits)
        return place

    def _run(self, name: str, place: Place, opts: DeliveryOptions, limits: Limits | None) -> None:
        context = Context(name, self.store.ledger.instance, self.clock.monotonic)
        pipeline = Pipeline(name, ScriptedSink(place, context, limits), opts, self.around)
        task = asyncio.create_task(self._guard(pipeline), name=f"pipeline {name}")
        self.pipelines[name] = pipeline
        self.sinks[name] = Running(place, opts, limits, pipeline, task)

    async def _guard(self, pipeline: Pipeline) -> None:
        try:
            await pipeline.run()
        except Exception as error:  # noqa: BLE001  told to the test by `idle`
            self.errors.append(error)

    async def kill(self, name: str) -> None:
        """The pipeline stops where it stands: nothing that is under way is settled."""
        running = self.sinks[name]
        running.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running.task

    async def restart(self, name: str) -> None:
        """Kill one pipeline, and start it again from what the store knows."""
        await self.kill(name)
        await self.store.flush()
        running = self.sinks[name]
        self._run(name, running.place, running.options, running.limits)

    async def reload(self, name: str, **changes: Any) -> None:
        """The configuration of one sink was changed."""
        await self.kill(name)
        await self.store.flush()
        running, opts = self.sinks[name], options(**changes)
        await self.store.subscribe(name, opts.streams, start_now=False)
        self._run(name, running.place, opts, running.limits)

    async def crash(self) -> None:
        """As `kill -9`, and a restart: what is not in the file by now is lost."""
        await self.idle()
        await self.store.tidy()  # so that nobody writes while it is read
        image = self._image()
        await self.stop()
        self._restore(image)
        await self.start()

    def _image(self) -> dict[Path, bytes]:
        path = self._buffer.path
        return {file: file.read_bytes() for file in (path, Path(f"{path}-wal"))}

    def _restore(self, image: dict[Path, bytes]) -> None:
        for file, data in image.items():
            file.write_bytes(data)

    async def reopen(self) -> None:
        """A restart in the middle of everything, but with a buffer that was closed."""
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        """Kill the pipelines, and close the store."""
        for name in self.sinks:
            await self.kill(name)
        await self.store.close()

    async def start(self) -> None:
        """Open the store, and start the pipelines again from what it knows."""
        self.store = self._new_store()
        await self.store.open()
        self._surround()
        for name, running in list(self.sinks.items()):
            await self.store.subscribe(name, running.options.streams, start_now=False)
            self._run(name, running.place, running.options, running.limits)

    async def post(self, *events: bytes, stream: str = "a", **extra: Any) -> int:
        """Append events, durable; the first seq."""
        entry = Entry(stream, b"\n".join(events), len(events), **extra)
        receipt = await self.store.append(entry)
        assert receipt.first_seq is not None
        return receipt.first_seq

    # ── moving on ────────────────────────────────────────────────────────────────────────────

    async def idle(self) -> None:
        """Wait until every task waits for the clock, or for a sink that hangs."""
        before = None
        for _ in range(2000):
            await self.store.flush()
            for _ in range(20):
                await asyncio.sleep(0)
            if self.errors:
                raise self.errors[0]
            now = (self._at_rest(), self._activity())
            if now[0] and now == before:
                return
            before = now
        raise AssertionError("the pipelines never came to rest")

    def _at_rest(self) -> bool:
        """Whether each task waits for the clock, for a sink that hangs, or for its own tasks."""
        running = [sink for sink in self.sinks.values() if not sink.task.done()]
        in_flight = [sink.pipeline.status().in_flight for sink in running]
        tasks = len(asyncio.all_tasks()) - 1
        lanes = tasks - len(running) - sum(in_flight)
        parents = sum(
            flying > 0 and sink.pipeline.draining.is_set()
            for sink, flying in zip(running, in_flight, strict=True)
        )
        waiting = self.clock.waiting + sum(sink.place.hanging for sink in running)
        return tasks == waiting + parents + (lanes > 0)

    def _activity(self) -> tuple[int, int, int]:
        sends = sum(len(sink.place.sent) for sink in self.sinks.values())
        return self.clock.waits, self.clock.fired, sends

    async def until(self, condition: Callable[[], bool], *, within: float = inf) -> None:
        """Let everything run, from one timer to the next, until `condition` holds."""
        end = self.clock.now + within
        for _ in range(100_000):
            await self.idle()
            if condition():
                return
            due = self.clock.next()
            assert due < inf, "nothing will happen any more, and the condition does not hold"
            assert due <= end, f"the condition does not hold within {within:g} s"
            self.clock.advance(due)
        raise AssertionError("the condition never held")

    async def run(self, seconds: float, *, after: Callable[[], Any] = lambda: None) -> None:
        """Let so much time pass; `after` is called whenever all is at rest."""
        end = self.clock.now + seconds
        while True:
            await self.idle()
            after()
            if self.clock.next() > end:
                break
            self.clock.advance(self.clock.next())
        self.clock.advance(end)
        await self.idle()
        after()

    async def drained(self, name: str = "s") -> None:
        """Until nothing waits for a sink."""
        await self.until(lambda: not self.state(name).lag)

    # ── looking ──────────────────────────────────────────────────────────────────────────────

    def state(self, name: str = "s") -> SinkState:
        return self.store.sink(name)

    def metric(self, name: str, sink: str = "s", **labels: str) -> float:
        value = self.registry.get_sample_value(f"forebay_{name}", {"sink": sink, **labels})
        return value or 0.0

    def check_accounts(self) -> None:
        """The identity of the contract, from the metrics alone."""
        found = {
            (sample.name, sample.labels["sink"], sample.labels.get("outcome")): sample.value
            for family in self.collector.collect()
            for sample in family.samples
            if "sink" in sample.labels
        }
        for sink in self.sinks:
            events = {
                outcome: found["forebay_sink_events_total", sink, outcome]
                for outcome in (
                    "delivered", "dead_lettered", "dropped", "expired", "quarantined", "replayed",
                )
            }  # fmt: skip
            lag = found["forebay_sink_lag_events", sink, None]
            routed = found["forebay_sink_routed_events_total", sink, None]
            replayed = events.pop("replayed")
            assert lag >= 0, f"{sink}: a lag of {lag}"
            assert routed + replayed == sum(events.values()) + lag, (sink, routed, events, lag)


def numbered(count: int, *, start: int = 0) -> list[bytes]:
    """Different events."""
    return [b'{"n":%d}' % number for number in range(start, start + count)]


def in_turn(*values: float) -> Callable[[], float]:
    """`random` for a test: these values, over and over."""
    index = -1

    def random() -> float:
        nonlocal index
        index += 1
        return values[index % len(values)]

    return random
