"""What a listener counts, with the metrics' children at hand so that counting costs little."""

from prometheus_client import Counter

from forebay.buffer.entry import Receipt
from forebay.daemon.ingest.events import Events
from forebay.daemon.metrics import IngestMetrics

MAX_STREAMS = 1000
"""Streams counted by name. Clients choose names where a sink takes `*`; Prometheus has bounds."""
OTHERS = "_other"
"""The label of all further streams; no stream can have this name."""


class _Stream:
    def __init__(self, metrics: IngestMetrics, name: str) -> None:
        self.accepted: Counter = metrics.events.labels(name, "accepted")
        self.rejected: Counter = metrics.events.labels(name, "rejected")
        self.duplicate: Counter = metrics.events.labels(name, "duplicate")
        self.bytes: Counter = metrics.bytes.labels(name)


class Counts:
    """The metrics of one listener."""

    def __init__(self, metrics: IngestMetrics, listener: str) -> None:
        self._metrics = metrics
        self._listener = listener
        self._codes: dict[int, Counter] = {}
        self._streams: dict[str, _Stream] = {}

    def answered(self, status: int) -> None:
        """A request has its answer."""
        counter = self._codes.get(status)
        if counter is None:
            counter = self._metrics.requests.labels(self._listener, str(status))
            self._codes[status] = counter
        counter.inc()

    def rejected(self, stream: str, events: Events) -> None:
        """Events were bad, whether or not others of the request were stored."""
        self._stream(stream).rejected.inc(events.rejected)

    def stored(self, stream: str, events: Events, receipt: Receipt, seconds: float) -> None:
        """The buffer has answered. Where it kept a part, that part's bytes are estimated."""
        counters = self._stream(stream)
        if receipt.accepted:
            counters.accepted.inc(receipt.accepted)
            counters.bytes.inc(len(events.payload) * receipt.accepted // events.count)
            self._metrics.ack_seconds.observe(seconds)
        if receipt.duplicates:
            counters.duplicate.inc(receipt.duplicates)

    def _stream(self, name: str) -> _Stream:
        counters = self._streams.get(name)
        if counters is None:
            if len(self._streams) >= MAX_STREAMS and name != OTHERS:
                return self._stream(OTHERS)
            counters = self._streams[name] = _Stream(self._metrics, name)
        return counters
