"""A batch in slices, so that no step of the work on it takes long.

Rows are made in a thread beside the event loop that answers requests, and the codec holds the
interpreter's lock for as long as a call takes. A call for a slice takes half a millisecond; one for
a batch of 16 MB would keep every request waiting for as long as that takes.
"""

from collections.abc import Iterator

from forebay.sinks.base import Batch

_NBYTES = 64 * 1024


def slices(batch: Batch) -> Iterator[bytes]:
    """The events, one a line; whole ones, about 64 KiB of them at a time."""
    events = batch.ndjson()
    start = 0
    while start < len(events):
        stop = events.find(b"\n", start + _NBYTES)
        stop = len(events) if stop < 0 else stop
        yield events[start:stop]
        start = stop + 1
