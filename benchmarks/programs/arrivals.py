"""A sink that tells how long each event was on its way: `python -m benchmarks.programs.arrivals`.

An event carries the moment it was sent as its last member, `"sent_at": 1700000000.123456}`, by the
clock of this machine; GET / answers all the `delays`, in seconds, in the order they came in.
"""

import re
import time

import uvloop

from benchmarks.programs.sink import Counts, Sink, serve

_SENT_AT = re.compile(rb'"sent_at": ?(\d+\.\d+)\}')


def delays(body: bytes, now: float) -> list[float]:
    """Seconds since each event of an NDJSON body was sent."""
    return [now - float(sent) for sent in _SENT_AT.findall(body)]


class Arrivals(Sink):
    def __init__(self, counts: Counts, seconds: float | None) -> None:
        super().__init__(counts, seconds)
        self._found: list[float] = vars(counts).setdefault("delays", [])
        self._body = b""

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body += body

    def on_message_complete(self) -> None:
        self._found += delays(self._body, time.time())
        self._body = b""
        super().on_message_complete()


if __name__ == "__main__":
    uvloop.run(serve("count", 0.0, Arrivals))
