"""Which sink takes which streams, from where on."""

from collections.abc import Collection

from msgspec.structs import replace

from forebay.buffer.cursors import Cursor
from forebay.buffer.ledger import Outcome, SinkState
from forebay.buffer.transaction import Transaction

_FIRST = "SELECT coalesce(min(first_seq), ?) FROM segments"


def subscribe(
    transaction: Transaction, name: str, streams: tuple[str, ...], *, start_now: bool
) -> None:
    """Add a sink, or change what an old one takes.

    An abandoned one takes again, from where it was. Events that already wait and that the sink did
    not take before count as routed now; those that it no longer takes count as dropped: so the
    counters agree with what it will read.
    """
    sink = transaction.sink(name)
    if sink is None:
        sink = _new(transaction, start_now=start_now)
    if sink.subscription != (streams, None):
        wanted = replace(sink, streams=streams, abandoned_at=None)
        gained, lost = _difference(transaction, sink, wanted)
        counted = replace(wanted, routed=wanted.routed + gained)
        transaction.put_sink(name, counted.counted({Outcome.DROPPED: lost}))


def abandon(transaction: Transaction, configured: Collection[str]) -> None:
    """Let sinks that are not configured take nothing more; what waits for them stays."""
    for name, sink in transaction.sinks().items():
        if name not in configured and sink.abandoned_at is None:
            transaction.put_sink(name, replace(sink, abandoned_at=transaction.next_seq))


def _new(transaction: Transaction, *, start_now: bool) -> SinkState:
    if start_now:
        return SinkState((), Cursor(transaction.next_seq))
    first = transaction.database.execute(_FIRST, (transaction.next_seq,)).fetchone()[0]
    return SinkState((), Cursor(first))


def _difference(transaction: Transaction, old: SinkState, new: SinkState) -> tuple[int, int]:
    """How many waiting events `new` takes and `old` did not, and the other way round.

    Reads the headers of all segments that wait; only a changed subscription pays for it.
    """
    gained = lost = 0
    every = transaction.segments(old.cursor.position, transaction.next_seq - 1)
    for stream, first, last in every:
        was, is_ = old.takes_at(stream, first), new.takes(stream)
        if was != is_:
            waiting = old.cursor.open_events(first, last)
            gained, lost = gained + waiting * is_, lost + waiting * was
    return gained, lost
