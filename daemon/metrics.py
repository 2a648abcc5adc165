"""The metrics of the contract that are observed where things happen, one object a plane.

What the buffer keeps in its file (events per sink, lag, sizes) is read from there when Prometheus
asks: see `collector.py`. Nothing here is global; the registry is built in `app.py`.
"""

from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

_ACK_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip
_COMMIT_EVENTS_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
_BATCH_EVENTS_BUCKETS = (1, 10, 100, 500, 1000, 2500, 5000, 10_000, 50_000)
_SEND_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_END_TO_END_BUCKETS = (0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86400.0)


class BulkHistogram(Histogram):
    """A histogram that takes many observations for hardly more than the price of one."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """The same as `observe` for each."""
        if not amounts:
            return
        counts: dict[int, int] = {}
        for amount in amounts:
            bucket = bisect_left(self._upper_bounds, amount)
            counts[bucket] = counts.get(bucket, 0) + 1
        self._sum.inc(sum(amounts))
        for bucket, count in counts.items():
            self._buckets[bucket].inc(count)


class IngestMetrics:
    """What the listeners count."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "forebay_ingest_requests",
            "Requests answered, by listener (tcp, unix) and status code.",
            ["listener", "code"],
            registry=registry,
        )
        self.events = Counter(
            "forebay_ingest_events",
            "Events posted, by stream and what became of them.",
            ["stream", "outcome"],
            registry=registry,
        )
        self.bytes = Counter(
            "forebay_ingest_bytes",
            "Bytes of accepted events, decoded, by stream.",
            ["stream"],
            registry=registry,
        )
        self.ack_seconds = BulkHistogram(
            "forebay_ingest_ack_seconds",
            "From the end of a request to its answer, for requests that stored events.",
            buckets=_ACK_BUCKETS,
            registry=registry,
        )


class BufferMetrics:
    """What the writer observes of its commits."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.commit_seconds = Histogram(
            "forebay_buffer_commit_seconds",
            "One commit, from its first statement to the end of its sync.",
            buckets=_ACK_BUCKETS,
            registry=registry,
        )
        self.commit_events = Histogram(
            "forebay_buffer_commit_events",
            "Events stored by one commit.",
            buckets=_COMMIT_EVENTS_BUCKETS,
            registry=registry,
        )


class DeliveryMetrics:
    """What the pipelines observe of their sends."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batches = Counter(
            "forebay_sink_batches",
            "Batches by what became of a send.",
            ["sink", "outcome"],
            registry=registry,
        )
        self.send_seconds = Histogram(
            "forebay_sink_send_seconds",
            "One send, whatever its outcome.",
            ["sink"],
            buckets=_SEND_BUCKETS,
            registry=registry,
        )
        self.batch_events = Histogram(
            "forebay_sink_batch_events",
            "Events in a batch, at its first send.",
            ["sink"],
            buckets=_BATCH_EVENTS_BUCKETS,
            registry=registry,
        )
        self.end_to_end_seconds = Histogram(
            "forebay_sink_end_to_end_seconds",
            "From the receipt of a batch's first event to its delivery.",
            ["sink"],
            buckets=_END_TO_END_BUCKETS,
            registry=registry,
        )
        self.breaker_opened = Counter(
            "forebay_sink_breaker_opened",
            "Times that the breaker opened.",
            ["sink"],
            registry=registry,
        )
        self.throttled_seconds = Counter(
            "forebay_sink_throttled_seconds",
            "Seconds spent waiting for limits: the sink's own, and those it asked for.",
            ["sink"],
            registry=registry,
        )
