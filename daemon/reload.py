"""Taking over a changed configuration while the daemon runs: SIGHUP, `forebay reload`.

What concerns sinks, and what ingest takes and from whom, is taken over at once. A file with any
mistake is refused whole. What needs a restart is named, and stays as it was.
"""

import asyncio
from collections.abc import Callable

import structlog

from forebay.buffer import BufferOptions
from forebay.daemon.admin.options import AdminOptions
from forebay.daemon.deliveries import Deliveries
from forebay.daemon.ingest.server import IngestServer
from forebay.daemon.settings import Settings, SettingsError

_FIXED = {
    "ingest": ("listen", "socket", "socket_mode", "dedup_window"),
    "admin": tuple(AdminOptions.model_fields),
    "buffer": tuple(BufferOptions.model_fields),
}
"""The options that are read at the start only, by their tables."""


class Reload:
    """`load` reads the configuration again; it raises SettingsError for what is wrong with it."""

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        ingest: IngestServer,
        deliveries: Deliveries,
        group: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._load = load
        self._ingest = ingest
        self._deliveries = deliveries
        self._group = group
        self._one_at_a_time = asyncio.Lock()
        self._log = structlog.get_logger()

    async def __call__(self) -> dict[str, list[str]]:
        """Do it; what was added, changed and removed, and what needs a restart.

        Raises SettingsError; then nothing has changed.
        """
        async with self._one_at_a_time:
            try:
                settings = self._load()
            except SettingsError as error:
                self._log.error("config.refused", mistakes=error.lines)
                raise
            seconds = settings.shutdown_timeout.total_seconds()
            applied = await self._deliveries.apply(settings.sinks, self._group, seconds)
            self._ingest.reconfigure(settings.ingest)
            report = {
                "added": list(applied.added),
                "changed": list(applied.changed),
                "removed": list(applied.removed),
                "needs_restart": self._needs_restart(settings),
            }
            self._log.info("config.reloaded", **report)
            return report

    def _needs_restart(self, settings: Settings) -> list[str]:
        """Options that differ from those the daemon was started with, by their paths."""
        return [
            f"{table}.{name}"
            for table, names in _FIXED.items()
            for name in names
            if getattr(getattr(settings, table), name)
            != getattr(getattr(self._settings, table), name)
        ]
