"""The daemon: builds everybody, and runs open → serve → drain → close.

The only module that knows everybody.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from typing import Final

import prometheus_client
import structlog
import uvloop
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from forebay.buffer import BufferFault, BufferUnavailable, CommitStats, Store, wal_reset_safe
from forebay.daemon.admin.api import Api
from forebay.daemon.admin.dead_letters import DeadLetterApi
from forebay.daemon.admin.server import AdminServer
from forebay.daemon.admin.sinks import SinkApi
from forebay.daemon.clock import SystemClock
from forebay.daemon.collector import StateCollector
from forebay.daemon.deliveries import Deliveries
from forebay.daemon.delivery.pipeline import Pipeline
from forebay.daemon.delivery.surroundings import Surroundings
from forebay.daemon.ingest.addresses import ListenError
from forebay.daemon.ingest.server import IngestServer
from forebay.daemon.masking import Mask
from forebay.daemon.metrics import BufferMetrics, DeliveryMetrics, IngestMetrics
from forebay.daemon.reload import Reload
from forebay.daemon.settings import Settings, SettingsError, SinkSettings, parse_address, secrets
from forebay.daemon.status import Status

_SWITCH_SECONDS: Final = 0.0005
"""After how long a thread gives up Python's lock where another waits for it. The writer and the
threads that make rows would else keep an answer, and each other, waiting ten times as long."""
_INGEST_DRAIN_SECONDS: Final = 5.0
"""How long requests that were read may wait for their commit once a stop was asked for."""


def run(settings: Settings, load: Callable[[], Settings]) -> int:
    """Run until SIGTERM or SIGINT; the exit status. SIGHUP takes over what `load` reads then."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Nobody reads these series, and they double the answer.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    return uvloop.run(_main(settings, load))


async def _main(settings: Settings, load: Callable[[], Settings]) -> int:
    log, stop = structlog.get_logger(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # until there is something to reload
    daemon = Daemon(settings, load)
    try:
        await daemon.run(stop)
    except (BufferFault, ListenError) as error:
        log.error("daemon.failed", reason=str(error))  # noqa: TRY400  the message says it all
        return 1
    return 0


class Daemon:
    """One process's worth of forebay."""

    def __init__(self, settings: Settings, load: Callable[[], Settings]) -> None:
        self._settings = settings
        self._load = load
        self._mask = Mask(secrets(settings))
        self._log = structlog.get_logger()
        self._clock = SystemClock()
        self._registry = CollectorRegistry()
        self._store = Store(
            settings.buffer,
            observe=self._observer(),
            dedup_window=settings.ingest.dedup_window.total_seconds(),
        )
        self._deliveries = Deliveries(
            Surroundings(
                self._store,
                self._clock,
                DeliveryMetrics(self._registry),
                mask=self._masked,
            )
        )
        self._ingest = IngestServer(
            settings.ingest, self._store, IngestMetrics(self._registry), clock=self._clock.monotonic
        )
        self._status = Status(self._store, self._sinks, self._clock)
        self._admin = AdminServer(self._api().application(settings.admin))
        self._serving = False

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def run(self, stop: asyncio.Event) -> None:
        """Open, serve until `stop` is set, drain, close. Raises a BufferFault or a ListenError."""
        await self._store.open()
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._open(group)
                    await self._serve(stop)
                finally:
                    await self._drain()
        except* (BufferFault, ListenError) as errors:
            raise errors.exceptions[0] from None
        finally:
            await self._store.close()
            self._log.info("daemon.stopped")

    async def _open(self, group: asyncio.TaskGroup) -> None:
        self._registry.register(
            StateCollector(self._store, lambda: self._deliveries.pipelines, self._clock)
        )
        ProcessCollector(registry=self._registry)
        Gauge("forebay_build_info", "Always 1.", ["version"], registry=self._registry).labels(
            version("forebay")
        ).set(1)
        seconds = self._settings.shutdown_timeout.total_seconds()
        await self._deliveries.apply(self._settings.sinks, group, seconds)
        self._listen_for_reloads(group)
        if self._settings.admin.listen:
            await self._start_admin(self._settings.admin.listen)
        await self._ingest.start()
        self._serving = True
        self._announce()

    async def _start_admin(self, listen: str) -> None:
        try:
            await self._admin.start(*parse_address(listen))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise ListenError(
                f"cannot listen on {listen}: {why}; "
                "stop what listens there, or set admin.listen to another address"
            ) from error

    def _listen_for_reloads(self, group: asyncio.TaskGroup) -> None:
        """From now on SIGHUP and the admin plane may ask for one."""
        self._reload = Reload(
            self._settings, self._read_again, self._ingest, self._deliveries, group
        )

        async def on_signal() -> None:
            with suppress(SettingsError):  # it was logged, and nothing has changed
                await self._reload()

        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: group.create_task(on_signal(), name="reload")
        )

    async def _serve(self, stop: asyncio.Event) -> None:
        """Until somebody asks to stop, or the writer fails."""
        crashed = self._store.crashed
        crashed.add_done_callback(lambda _: stop.set())
        await stop.wait()
        if crashed.done():
            self._log.critical("buffer.failed", reason=repr(crashed.exception()))
            raise BufferUnavailable(f"the writer has failed: {crashed.exception()!r}")

    async def _drain(self) -> None:
        """The order matters: what was taken must be stored before the buffer closes."""
        self._log.info("daemon.stopping")
        self._serving = False
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        # 1. Take no more; requests on open connections get 503.
        self._ingest.stop_accepting()
        # 2. Finish the commits of what was taken, and answer.
        try:
            async with asyncio.timeout(_INGEST_DRAIN_SECONDS):
                await self._ingest.drain()
        except TimeoutError:
            self._log.warning("ingest.cut_off")
        # 3. Let sends that are under way end.
        await self._deliveries.drain(self._settings.shutdown_timeout.total_seconds())
        # 4. Close the doors. The buffer comes last: it settles what the sends brought.
        await self._ingest.close()
        await self._admin.close()

    # ── what the parts are given ─────────────────────────────────────────────────────────────

    def _observer(self) -> Callable[[CommitStats], None]:
        metrics = BufferMetrics(self._registry)

        def observe(commit: CommitStats) -> None:
            if commit.events:
                metrics.commit_seconds.observe(commit.seconds)
                metrics.commit_events.observe(commit.events)
            for (sink, outcome), events in commit.lost.items():
                self._log.warning("buffer.dropped", sink=sink, outcome=outcome, events=events)

        return observe

    def _api(self) -> Api:
        return Api(
            registry=self._registry,
            status=self._status.to_json,
            unready=self._unready,
            sinks=SinkApi(self._store, lambda: self._deliveries.pipelines, self._reload_now),
            dead_letters=DeadLetterApi(self._store, lambda: self._deliveries.pipelines),
        )

    def _masked(self, text: str) -> str:
        """With the secrets of now, which a reload may change."""
        return self._mask.text(text)

    def _read_again(self) -> Settings:
        settings = self._load()
        # The old ones too: what is under way still uses them.
        self._mask = Mask(secrets(settings) | secrets(self._settings))
        return settings

    async def _reload_now(self) -> dict[str, list[str]]:
        return await self._reload()

    def _unready(self) -> str | None:
        if self._store.fault is not None:
            return self._store.fault
        return None if self._serving else "the listeners are not up"

    def _sinks(self) -> dict[str, tuple[SinkSettings, Pipeline]]:
        pipelines = self._deliveries.pipelines
        return {name: (self._deliveries.sinks[name], pipelines[name]) for name in pipelines}

    def _announce(self) -> None:
        safe = wal_reset_safe(sqlite3.sqlite_version_info)
        self._log.info(
            "buffer.opened",
            path=str(self._settings.buffer.path),
            instance=self._store.ledger.instance,
            events=self._store.ledger.events,
            sqlite=sqlite3.sqlite_version,
            wal_reset="fixed in this SQLite" if safe else "avoided: one connection writes",
        )
        if not self._settings.sinks:
            self._log.warning("sinks.none", hint="add a [sinks.NAME] table: see docs/sinks")
        self._log.info(
            "daemon.ready",
            version=version("forebay"),
            ingest=self._settings.ingest.listen and self._ingest.tcp_address,
            socket=self._settings.ingest.socket,
            admin=self._admin.address,
            sinks=sorted(self._settings.sinks),
        )
