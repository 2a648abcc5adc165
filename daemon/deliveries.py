"""All pipelines: each in a task of its own, started again by itself when it breaks."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from forebay.daemon.delivery.options import Start
from forebay.daemon.delivery.pipeline import Pipeline
from forebay.daemon.delivery.surroundings import Surroundings
from forebay.daemon.settings import SinkSettings
from forebay.sinks import Context
from forebay.sinks.registry import SINKS

_RESTART_SECONDS: Final = 5.0


class Deliveries:
    """The sinks that are configured, and their pipelines by name."""

    def __init__(self, sinks: Mapping[str, SinkSettings], around: Surroundings) -> None:
        self.sinks = sinks
        self.pipelines: dict[str, Pipeline] = {}
        self._around = around
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()
        self._log = structlog.get_logger()

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Subscribe every sink, and begin to deliver."""
        for name, sink in self.sinks.items():
            await self._around.store.subscribe(
                name, sink.delivery.streams, start_now=sink.delivery.start is Start.NOW
            )
            self.pipelines[name] = self._build(name)
            task = group.create_task(self._keep_running(name), name=f"sink {name}")
            self._tasks.add(task)

    async def drain(self, seconds: float) -> None:
        """Let sends that are under way end, so long at most; start nothing more."""
        self._draining.set()
        for pipeline in self.pipelines.values():
            pipeline.drain()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                self._log.warning("sink.cut_off", task=task.get_name())
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _build(self, name: str) -> Pipeline:
        settings, around = self.sinks[name], self._around
        clock, instance = around.clock, around.store.ledger.instance
        context = Context(name, instance, clock.monotonic, clock.wall)
        sink = SINKS[settings.type](settings.options, context)
        return Pipeline(name, sink, settings.delivery, around)

    async def _keep_running(self, name: str) -> None:
        """A fault in one pipeline stops that one for a moment, and no other."""
        while not self._draining.is_set():
            try:
                await self.pipelines[name].run()
            except Exception:  # noqa: BLE001  the bulkhead: whatever it was, it stays in here
                self._log.exception("sink.crashed", sink=name)
                await self._around.clock.wait(self._draining, _RESTART_SECONDS)
                self.pipelines[name] = self._build(name)
