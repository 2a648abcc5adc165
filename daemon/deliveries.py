"""All pipelines: each in a task of its own, started again by itself when it breaks.

`apply` brings them in line with the configuration: at the start, and whenever it was reloaded.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from forebay.buffer import BufferFault
from forebay.buffer.crash import point
from forebay.daemon.delivery.options import Start
from forebay.daemon.delivery.pipeline import Pipeline
from forebay.daemon.delivery.surroundings import Surroundings
from forebay.daemon.settings import SinkSettings
from forebay.sinks import Context
from forebay.sinks.registry import SINKS

_RESTART_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 1.0
"""What settling may take at the end, where the sends have used up all their time."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The names of the sinks that a new configuration added, changed and removed."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class Deliveries:
    """The sinks that are configured, and their pipelines by name."""

    def __init__(self, around: Surroundings) -> None:
        self.sinks: dict[str, SinkSettings] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self._around = around
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger()

    async def apply(
        self, sinks: Mapping[str, SinkSettings], group: asyncio.TaskGroup, seconds: float
    ) -> Applied:
        """Deliver to these sinks and no others.

        Those that go or change may end their sends, for so many seconds at most. What waits for
        one that goes stays, until it comes back or somebody forgets it.
        """
        added = tuple(name for name in sinks if name not in self.sinks)
        removed = tuple(name for name in self.sinks if name not in sinks)
        changed = tuple(
            name for name in sinks if name in self.sinks and sinks[name] != self.sinks[name]
        )
        paused = [name for name in changed if self.pipelines[name].status().paused]
        await self._stop((*removed, *changed), seconds)
        await self._around.store.abandon(sinks)
        point("sinks.abandoned")
        for name in (*added, *changed):
            await self._start(name, sinks[name], group)
        for name in paused:
            self.pipelines[name].pause()
        return Applied(added, changed, removed)

    async def drain(self, seconds: float) -> None:
        """Let sends that are under way end, so long at most; start nothing more."""
        await self._stop(tuple(self._tasks), seconds)

    async def _start(self, name: str, sink: SinkSettings, group: asyncio.TaskGroup) -> None:
        start_now = sink.delivery.start is Start.NOW
        await self._around.store.subscribe(name, sink.delivery.streams, start_now=start_now)
        self.sinks[name] = sink
        self.pipelines[name] = self._build(name)
        self._tasks[name] = group.create_task(self._keep_running(name), name=f"sink {name}")

    async def _stop(self, names: tuple[str, ...], seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        for name in names:
            self.pipelines[name].drain()
        tasks = [self._tasks.pop(name) for name in names]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                self._log.warning("sink.cut_off", task=task.get_name())
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        # What was settled must be in the ledger before anybody reads on from there. A disk that
        # refuses writes must not keep the daemon from ending.
        with suppress(TimeoutError, BufferFault):
            async with asyncio.timeout_at(deadline + _FLUSH_SECONDS):
                await self._around.store.flush()
        for name in names:
            self._around.store.unwatch(name)
            del self.sinks[name], self.pipelines[name]

    def _build(self, name: str) -> Pipeline:
        settings, around = self.sinks[name], self._around
        clock, instance = around.clock, around.store.ledger.instance
        context = Context(name, instance, clock.monotonic, clock.wall)
        sink = SINKS[settings.type](settings.options, context)
        return Pipeline(name, sink, settings.delivery, around)

    async def _keep_running(self, name: str) -> None:
        """A fault in one pipeline stops that one for a moment, and no other."""
        pipeline = self.pipelines[name]
        while not pipeline.draining.is_set():
            try:
                await pipeline.run()
            except Exception:  # noqa: BLE001  the bulkhead: whatever it was, it stays in here
                self._log.exception("sink.crashed", sink=name)
                await self._renew(name, pipeline.draining)
                pipeline = self.pipelines[name]

    async def _renew(self, name: str, draining: asyncio.Event) -> None:
        """Build a new pipeline after a moment, as often as it takes, or until draining begins."""
        while not await self._around.clock.wait(draining, _RESTART_SECONDS):
            try:
                await self._around.store.flush()  # or it would read again what is settled
                pipeline = self._build(name)
            except Exception:  # noqa: BLE001  likewise
                self._log.exception("sink.crashed", sink=name)
                continue
            if self.pipelines[name].status().paused:
                pipeline.pause()
            if not draining.is_set():
                self.pipelines[name] = pipeline
            return
