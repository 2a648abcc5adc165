"""Metrics that are state rather than events: read from the buffer and the pipelines on demand.

Counters per sink come from the ledger of the last commit, all of the same commit: so the identity
of the contract holds in every answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from forebay.buffer import Store
from forebay.daemon.clock import Clock
from forebay.daemon.delivery.breaker import State
from forebay.daemon.delivery.pipeline import Pipeline

_OUTCOMES = (
    "delivered", "dead_lettered", "dropped", "expired", "quarantined", "replayed",
    "possible_duplicate",
)  # fmt: skip


class StateCollector(Collector):
    """`pipelines` gives those that run now, by the name of their sink."""

    def __init__(
        self, store: Store, pipelines: Callable[[], Mapping[str, Pipeline]], clock: Clock
    ) -> None:
        self._store = store
        self._pipelines = pipelines
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: the buffer may not be open yet when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of it, as of now."""
        yield from self._buffer()
        yield from self._sinks()
        yield from self._running()

    def _buffer(self) -> Iterator[Metric]:
        ledger = self._store.ledger
        age = max(self._clock.wall() - ledger.oldest_at, 0.0) if ledger.events else 0.0
        gauges = {
            "events": ("Events stored and not yet done with.", ledger.events),
            "bytes": ("Bytes of the file's pages in use.", ledger.used_bytes),
            "capacity_bytes": ("buffer.max_bytes.", self._store.options.max_bytes),
            "oldest_event_age_seconds": ("Age of the oldest event stored.", age),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"forebay_buffer_{name}", text, value)
        yield CounterMetricFamily(
            "forebay_buffer_quarantined_segments",
            "Segments set aside because they were not read back as they were written.",
            ledger.quarantined,
        )

    def _sinks(self) -> Iterator[Metric]:
        routed = CounterMetricFamily(
            "forebay_sink_routed_events", "Events accepted for a sink.", labels=["sink"]
        )
        events = CounterMetricFamily(
            "forebay_sink_events", "What became of a sink's events.", labels=["sink", "outcome"]
        )
        lag = GaugeMetricFamily(
            "forebay_sink_lag_events", "Events that wait for a sink.", labels=["sink"]
        )
        letters = GaugeMetricFamily(
            "forebay_dead_letters", "Dead letters kept now.", labels=["sink"]
        )
        discarded = CounterMetricFamily(
            "forebay_dead_letters_discarded",
            "Dead letters deleted because there were too many or they were too old.",
            labels=["sink"],
        )
        for name, sink in self._store.ledger.sinks.items():
            discarded.add_metric([name], sink.discarded)
            routed.add_metric([name], sink.routed)
            lag.add_metric([name], sink.lag)
            letters.add_metric([name], sink.dead_letters)
            for outcome in _OUTCOMES:
                events.add_metric([name, outcome], getattr(sink, outcome))
        yield from (routed, events, lag, letters, discarded)

    def _running(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "forebay_sink_lag_seconds", "Age of the oldest event that waits.", labels=["sink"]
        )
        breaker = GaugeMetricFamily(
            "forebay_sink_breaker_state", "1 on the current state.", labels=["sink", "state"]
        )
        for name, pipeline in self._pipelines().items():
            age.add_metric([name], pipeline.lag_seconds())
            for state in State:
                breaker.add_metric([name, state.value], float(pipeline.breaker is state))
        yield from (age, breaker)
