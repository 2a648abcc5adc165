"""What a listener counts.

Requests come by the ten thousand a second, and each look-up and lock of a metric costs about as
much as parsing a header line. So what is counted during one turn of the event loop goes to the
metrics once, at the beginning of the next: before anybody can ask for them over a socket.
"""

import asyncio

from prometheus_client import Counter

from forebay.buffer.entry import Receipt
from forebay.daemon.ingest.events import Events
from forebay.daemon.metrics import IngestMetrics

MAX_STREAMS = 1000
"""Streams counted by name. Clients choose names where a sink takes `*`; Prometheus has bounds."""
OTHERS = "_other"
"""The label of all further streams; no stream can have this name."""


class _Stream:
    """The counters of a stream, and what waits to be added to them."""

    __slots__ = ("accepted", "bytes", "counters", "duplicate", "rejected")

    def __init__(self, metrics: IngestMetrics, name: str) -> None:
        self.accepted = self.rejected = self.duplicate = self.bytes = 0
        self.counters: tuple[Counter, ...] = (
            metrics.events.labels(name, "accepted"),
            metrics.events.labels(name, "rejected"),
            metrics.events.labels(name, "duplicate"),
            metrics.bytes.labels(name),
        )

    def flush(self) -> None:
        waiting = (self.accepted, self.rejected, self.duplicate, self.bytes)
        for counter, amount in zip(self.counters, waiting, strict=True):
            if amount:
                counter.inc(amount)
        self.accepted = self.rejected = self.duplicate = self.bytes = 0


class Counts:
    """The metrics of one listener."""

    def __init__(self, metrics: IngestMetrics, listener: str) -> None:
        self._metrics = metrics
        self._listener = listener
        self._streams: dict[str, _Stream] = {}
        self._codes: dict[int, Counter] = {}
        # What was counted in this turn.
        self._scheduled = False
        self._answered: dict[int, int] = {}
        self._touched: set[_Stream] = set()
        self._seconds: list[float] = []

    def answered(self, status: int) -> None:
        """A request has its answer."""
        self._flush_soon()
        self._answered[status] = self._answered.get(status, 0) + 1

    def rejected(self, stream: str, events: Events) -> None:
        """Events were bad, whether or not others of the request were stored."""
        self._touch(stream).rejected += events.rejected

    def stored(self, stream: str, events: Events, receipt: Receipt, seconds: float) -> None:
        """The buffer has answered. Where it kept a part, that part's bytes are estimated."""
        counters = self._touch(stream)
        counters.duplicate += receipt.duplicates
        if receipt.accepted:
            counters.accepted += receipt.accepted
            counters.bytes += len(events.payload) * receipt.accepted // events.count
            self._seconds.append(seconds)

    def _flush_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        for status, amount in self._answered.items():
            if status not in self._codes:
                counter = self._metrics.requests.labels(self._listener, str(status))
                self._codes[status] = counter
            self._codes[status].inc(amount)
        self._answered.clear()
        for stream in self._touched:
            stream.flush()
        self._touched.clear()
        self._metrics.ack_seconds.observe_all(self._seconds)
        self._seconds.clear()

    def _touch(self, name: str) -> _Stream:
        counters = self._streams.get(name)
        if counters is None:
            if len(self._streams) >= MAX_STREAMS and name != OTHERS:
                return self._touch(OTHERS)
            counters = self._streams[name] = _Stream(self._metrics, name)
        self._touched.add(counters)
        self._flush_soon()
        return counters
