"""One connection: HTTP/1.1 on httptools, written for many small requests.

    bytes ─► parser ─► head ─► judge ─► body ─► take ─► Ticket ──┐
                                 └── refused ─────────► answer ──┴─► outbox ─► one write

- No task and no timer per request: the listener calls `sweep` now and then.
- At most MAX_WAITING answers wait; beyond that, and while the client does not read, nothing is
  read from it. (What was read with one piece is still worked off.)
- A refused body is not kept. Up to `max_body` it is skipped and the connection goes on; else the
  answer says `Connection: close`, and what still comes is thrown away for a while, so that the
  client can read the answer before the connection is reset under it.
- An upgrade (`Upgrade: h2c`, which Java's client asks for by default) is ignored, as HTTP allows.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from forebay.daemon.ingest.desk import Desk, stopping
from forebay.daemon.ingest.head import MAX_HEAD, Head, measure, read_head, too_large, unupgraded
from forebay.daemon.ingest.outbox import Outbox
from forebay.daemon.ingest.phase import BODY, ENDING, HEAD, IDLE, LINGERING, patience
from forebay.daemon.ingest.refusal import Refusal
from forebay.daemon.ingest.responses import CLOSE, CONTINUE, KEEP, Reply, refused
from forebay.daemon.ingest.routes import Post
from forebay.daemon.ingest.routes import too_large as body_too_large

MAX_WAITING = 64
"""Answers of one connection that may wait for the log before reading pauses."""
LINGER_BODIES = 4
"""How many times `max_body` a client may go on sending after a last answer."""


class Connection(asyncio.Protocol):
    """Serves one client. `on_close` is called once it is gone."""

    def __init__(self, desk: Desk, on_close: Callable[["Connection"], None]) -> None:
        self._desk = desk
        self._on_close = on_close
        self._outbox = Outbox(desk.counts)
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._now = self._since = desk.clock()
        """`_since`: when the phase began, or the last progress in it."""
        self._phase = IDLE
        self._feeding = False
        self._reading = True
        self._eof = False
        self._complete = False  # of the last request, all was read
        self._discarded = 0

        # The request that is being read.
        self._piece = 0
        self._head_most = self._head_first = 0
        self._url = b""
        self._lines: list[tuple[bytes, bytes]] = []
        self._plain = b""
        self._keep = True
        self._cors = self._tail = b""
        self._post: Post | None = None
        self._body: bytes | bytearray = b""
        self._size = 0
        self._overhead = 0

    def __repr__(self) -> str:
        return f"<Connection {self._phase.value}, {len(self._outbox)} answers waiting>"

    # ── the transport's calls ────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._outbox.open(self._transport)
        if self._phase is ENDING:  # the listener has closed meanwhile
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._now = self._desk.clock()
        self._piece = len(data)
        phase = self._phase
        if phase is ENDING or phase is LINGERING:
            self._discard()
            return
        if phase is HEAD:
            self._head_most += self._piece
        elif phase is BODY:
            self._since = self._now
            self._overhead += self._piece
        self._feeding = True
        self._feed(data)
        self._feeding = False
        self._check_bounds()
        self._flush()

    def eof_received(self) -> bool:
        self._eof = True
        if self._phase in (HEAD, BODY):
            self._give_up(Refusal(400, "the connection ended within the request"))
        self._complete = True
        self._phase = ENDING
        self._flush()
        return True  # _flush closes, now or when the last answer is written

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

    # ── the parser's calls ───────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        if self._phase is IDLE:
            self._phase = HEAD
            self._since = self._now
            self._head_most = self._head_first = self._piece
            self._url = self._cors = b""
            self._lines = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is HEAD:  # else it is a trailer
            self._lines.append((name, value))

    def on_headers_complete(self) -> None:
        if self._phase is not HEAD:
            return
        try:
            head = self._head()
        except Refusal as refusal:
            self._end(refused(refusal))
            return
        if b"upgrade" in head.fields and self._parser.should_upgrade():
            self._plain = unupgraded(head)
        else:
            self._judge(head)

    def on_body(self, body: bytes) -> None:
        if self._phase is not BODY:
            return
        self._overhead = 0
        self._size += len(body)
        if self._size > self._desk.max_body:
            self._give_up(body_too_large(self._desk.max_body))
        elif self._post is not None:
            self._keep_body(body)

    def on_message_complete(self) -> None:
        if self._phase is not BODY:
            return
        self._phase = IDLE
        self._since = self._now
        if self._post is not None:
            self._take(self._post, bytes(self._body))
            self._post = None
            self._body = b""
        if not self._keep and self._phase is IDLE:
            self._phase = ENDING
            self._complete = True

    # ── reading a request ────────────────────────────────────────────────────────────────────

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The parser thinks that HTTP ends here. Go on with the same request, unupgraded.
                data = self._plain + data[upgrade.args[0] :]
                self._plain = b""
                if self._phase is HEAD:
                    self._phase = IDLE
                    self._parser = httptools.HttpRequestParser(self)
                    continue
            except httptools.HttpParserCallbackError:
                raise  # our own fault: let the loop report it
            except httptools.HttpParserError as error:
                self._give_up(Refusal(400, f"this is not HTTP/1.1: {error}"))
            return

    def _head(self) -> Head:
        # Measured only where the pieces that it came in allow for too much.
        if self._head_most > MAX_HEAD and measure(self._url, self._lines) > MAX_HEAD:
            raise too_large()
        parser = self._parser
        return read_head(parser.get_method(), self._url, self._lines, parser.get_http_version())

    def _judge(self, head: Head) -> None:
        self._phase = BODY
        self._since = self._now
        self._size = self._overhead = 0
        self._keep = self._parser.should_keep_alive()
        self._cors = self._desk.cors(head)
        self._tail = self._cors + _connection(head.version, keep=self._keep)
        try:
            verdict = self._desk.judge(head)
            if head.awaits_continue and self._desk.stopping:
                raise stopping()
        except Refusal as refusal:
            verdict = refused(refusal)
        if isinstance(verdict, Reply):
            self._answer_head(head, verdict)
            return
        self._post = verdict
        if head.awaits_continue:
            self._outbox.put_raw(CONTINUE)

    def _answer_head(self, head: Head, reply: Reply) -> None:
        bodiless = head.method == b"HEAD"
        if head.ends_unclear or (head.length or 0) > self._desk.max_body:
            self._end(reply, bodiless=bodiless)
        else:
            self._outbox.put(reply, self._tail, bodiless=bodiless)

    def _keep_body(self, body: bytes) -> None:
        # Mostly a body comes in one piece and is never copied; many pieces grow one buffer.
        if not self._body:
            self._body = body
        elif isinstance(self._body, bytearray):
            self._body += body
        else:
            self._body = bytearray(self._body)
            self._body += body

    def _check_bounds(self) -> None:
        # Of the piece in which a head began it is not known how much belongs to the head.
        if self._phase is HEAD and self._head_most - self._head_first > MAX_HEAD:
            self._end(refused(too_large()))
        elif self._phase is BODY and self._overhead > MAX_HEAD:
            self._give_up(Refusal(431, "chunk extensions or trailers are too long: send none"))

    # ── answering ────────────────────────────────────────────────────────────────────────────

    def _take(self, post: Post, body: bytes) -> None:
        try:
            outcome = self._desk.take(post, body)
        except Refusal as refusal:
            outcome = refused(refusal)
        if not isinstance(outcome, Reply):
            outcome.tail = self._tail
            self._outbox.put_later(outcome)
            outcome.future.add_done_callback(self._on_stored)
        elif self._desk.stopping:
            self._end(outcome)
        else:
            self._outbox.put(outcome, self._tail)

    def _on_stored(self, _: object) -> None:
        self._flush()
        if self._phase is IDLE:  # until now it was the client that waited
            self._since = self._desk.clock()

    def _give_up(self, refusal: Refusal) -> None:
        """End within a request: with an answer, unless it has one."""
        answered = self._phase is BODY and self._post is None
        if self._phase is not ENDING:
            self._end(None if answered else refused(refusal))

    def _end(self, reply: Reply | None, *, bodiless: bool = False) -> None:
        """Make this the last answer of the connection."""
        if reply is not None:
            self._outbox.put(reply, self._cors + CLOSE, bodiless=bodiless)
        self._phase = ENDING
        self._since = self._now
        self._post = None
        self._body = b""

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

    def _discard(self) -> None:
        self._discarded += self._piece
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


def _connection(version: str, *, keep: bool) -> bytes:
    if not keep:
        return CLOSE
    return KEEP if version == "1.0" else b""
