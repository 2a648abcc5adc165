"""What `GET /v1/status` tells."""

import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from forebay.buffer import SinkState, Store, wal_reset_safe
from forebay.daemon.clock import Clock
from forebay.daemon.delivery.pipeline import Pipeline
from forebay.daemon.settings import SinkSettings


class Status:
    """Put together when it is asked for; nothing is kept."""

    def __init__(
        self,
        store: Store,
        sinks: Callable[[], Mapping[str, tuple[SinkSettings, Pipeline]]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._sinks = sinks
        self._clock = clock
        self._started = clock.monotonic()

    def to_json(self) -> dict[str, Any]:
        """The answer, for a JSON encoder."""
        ledger = self._store.ledger
        return {
            "version": version("forebay"),
            "instance": ledger.instance,
            "uptime": round(self._clock.monotonic() - self._started, 3),
            "sqlite": {
                "version": sqlite3.sqlite_version,
                "wal_reset_safe": wal_reset_safe(sqlite3.sqlite_version_info),
            },
            "buffer": self._buffer(),
            "streams": {
                name: {"events_total": stream.events_total}
                for name, stream in ledger.streams.items()
            },
            "sinks": {
                name: self._sink(settings, pipeline, self._store.sink(name))
                for name, (settings, pipeline) in self._sinks().items()
            },
            "abandoned": {
                name: self._abandoned(state)
                for name, state in ledger.sinks.items()
                if state.abandoned_at is not None
            },
        }

    def _abandoned(self, state: SinkState) -> dict[str, Any]:
        """A sink that left the configuration, and what of the log it keeps from being freed."""
        return {
            "streams": list(state.streams),
            "acked_seq": self._store.ledger.acked_seq(state),
            "lag_events": state.lag,
            "dead_letters": state.dead_letters,
        }

    def _buffer(self) -> dict[str, Any]:
        ledger = self._store.ledger
        age = max(self._clock.wall() - ledger.oldest_at, 0.0) if ledger.events else 0.0
        return {
            "events": ledger.events,
            "bytes": ledger.used_bytes,
            "capacity_bytes": int(self._store.options.max_bytes),
            "oldest_age_seconds": round(age, 3),
            "first_seq": ledger.first_seq,
            "next_seq": ledger.next_seq,
            "fault": self._store.fault,
        }

    def _sink(self, settings: SinkSettings, pipeline: Pipeline, state: SinkState) -> dict[str, Any]:
        status = pipeline.status()
        return {
            "type": settings.type,
            "streams": list(settings.delivery.streams),
            "state": status.state,
            "paused": status.paused,
            "acked_seq": self._store.ledger.acked_seq(state),
            "lag_events": state.lag,
            "lag_seconds": round(status.lag_seconds, 3),
            "breaker": status.breaker,
            "retry_at": None if status.retry_at is None else iso(status.retry_at),
            "last_error": status.last_error,
            "delivered": state.delivered,
            "dead_lettered": state.dead_lettered,
            "dead_letters": state.dead_letters,
            "in_flight": status.in_flight,
        }


def iso(seconds: float) -> str:
    """Seconds since the epoch as people and programs read them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
