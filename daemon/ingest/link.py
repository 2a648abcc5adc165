"""One connection, beside what it reads: its phases, its answers' way out, its end.

- No task and no timer per request: the listener calls `sweep` now and then.
- At most MAX_WAITING answers wait; beyond that, and while the client does not read, nothing is
  read from it. (What was read with one piece is still worked off.)
- After a last answer what still comes is thrown away for a while, so that the client can read the
  answer before the connection is reset under it.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from typing import cast

from forebay.daemon.ingest.desk import Desk
from forebay.daemon.ingest.outbox import Outbox
from forebay.daemon.ingest.phase import BODY, ENDING, IDLE, LINGERING, patience
from forebay.daemon.ingest.refusal import Refusal

MAX_WAITING = 64
"""Answers of one connection that may wait for the log before reading pauses."""
LINGER_BODIES = 4
"""How many times `max_body` a client may go on sending after a last answer."""


class Link(asyncio.Protocol):
    """Keeps up with one client. `on_close` is called once it is gone."""

    def __init__(self, desk: Desk, on_close: Callable[["Link"], None]) -> None:
        self._desk = desk
        self._on_close = on_close
        self._outbox = Outbox(desk.counts)
        self._transport: asyncio.Transport | None = None
        self._now = self._since = desk.clock()
        """`_since`: when the phase began, or the last progress in it."""
        self._phase = IDLE
        self._feeding = False
        self._reading = True
        self._eof = False
        self._complete = False  # of the last request, all was read
        self._discarded = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._phase.value}, {len(self._outbox)} answers waiting>"

    @abstractmethod
    def _give_up(self, refusal: Refusal) -> None:
        """End within a request."""

    # ── the transport's calls ────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._outbox.open(self._transport)
        if self._phase is ENDING:  # the listener has closed meanwhile
            self._transport.close()

    def pause_writing(self) -> None:
        self._outbox.writable = False
        self._since = self._desk.clock()
        self._throttle()

    def resume_writing(self) -> None:
        self._outbox.writable = True
        self._throttle()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._outbox.close()
        self._on_close(self)

    # ── answers ──────────────────────────────────────────────────────────────────────────────

    def _on_answer(self, now: float) -> None:
        self._flush()
        if self._phase is IDLE:  # until now it was the client that waited
            self._since = now

    def _flush(self) -> None:
        if self._feeding:
            return
        if self._outbox.flush() and self._phase is ENDING:
            self._finish()
        if self._reading is not (self._outbox.writable and len(self._outbox) < MAX_WAITING):
            self._throttle()

    def _finish(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._since = self._desk.clock()
        if self._complete or self._eof:
            self._transport.close()
        else:
            self._phase = LINGERING
            self._transport.write_eof()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > LINGER_BODIES * self._desk.max_body and self._transport is not None:
            self._transport.abort()

    def _throttle(self) -> None:
        wanted = self._outbox.writable and len(self._outbox) < MAX_WAITING
        transport = self._transport
        if wanted is self._reading or transport is None or transport.is_closing() or self._eof:
            return
        self._reading = wanted
        if wanted:
            self._since = self._desk.clock()  # the pause was not the client's
            transport.resume_reading()
        else:
            transport.pause_reading()

    # ── the listener's calls ─────────────────────────────────────────────────────────────────

    def sweep(self, now: float) -> None:
        """Part with a client that is too slow. `now` is the desk's clock."""
        transport, age = self._transport, now - self._since
        if transport is None or (len(self._outbox) and self._outbox.writable):
            return  # it is the log that is awaited
        # A client that does not read what it is sent may take as long as one that does not send.
        if age <= patience(self._phase if self._outbox.writable else BODY, self._desk.options):
            return
        if not self._outbox.writable or self._phase in (ENDING, LINGERING):
            transport.abort()
        elif self._phase is IDLE:
            self.close()
        else:
            self._now = now
            self._give_up(Refusal(408, "the request came too slowly: send it in one go"))
            self._flush()

    def close(self) -> None:
        """End after what was written is sent."""
        self._phase = ENDING
        self._complete = True
        self._finish()

    def abort(self) -> None:
        """End now."""
        if self._transport is not None:
            self._transport.abort()
