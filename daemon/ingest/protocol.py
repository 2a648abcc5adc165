"""What one connection reads: HTTP/1.1 on httptools, written for many small requests.

    bytes ─┬► parser ─► head ─► judge ─┬► body ─► events ─► Ticket ──┐
           └► the head that is known ──┘└ refused ─────────► answer ──┴─► outbox ─► one write

- A head that equals the last good one goes neither through the parser nor the judge: known.py.
- A refused body is not kept. Up to `max_body` it is skipped and the connection goes on; else the
  answer says `Connection: close`.
- An upgrade (`Upgrade: h2c`, which Java's client asks for by default) is ignored, as HTTP allows.
"""

from collections.abc import Callable

import httptools

from forebay.daemon.ingest.desk import Desk, Ticket, stopping
from forebay.daemon.ingest.head import MAX_HEAD, Head, measure, read_head, too_large, unupgraded
from forebay.daemon.ingest.known import Known, learn
from forebay.daemon.ingest.link import Link
from forebay.daemon.ingest.phase import BODY, ENDING, HEAD, IDLE, LINGERING
from forebay.daemon.ingest.refusal import Refusal
from forebay.daemon.ingest.responses import CLOSE, CONTINUE, KEEP, Reply, refused
from forebay.daemon.ingest.routes import Post
from forebay.daemon.ingest.routes import too_large as body_too_large


class Connection(Link):
    """Serves one client. `on_close` is called once it is gone."""

    def __init__(self, desk: Desk, on_close: Callable[[Link], None]) -> None:
        super().__init__(desk, on_close)
        self._parser = httptools.HttpRequestParser(self)
        self._known: Known | None = None

        # The request that is being read.
        self._opening = b""  # the piece that it opens, until its head is complete
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
        self._missing = 0  # of a body behind a known head
        self._overhead = 0

    # ── the transport's calls ────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        self._now = self._desk.clock()
        if self._phase is ENDING or self._phase is LINGERING:
            self._discard(len(data))
            return
        self._feeding = True
        if self._missing:
            data = self._go_on(data)
        if self._known is not None and self._phase is IDLE:
            data = self._take_known(data)
        if data:
            self._parse(data)
        self._feeding = False
        self._flush()

    def eof_received(self) -> bool:
        self._eof = True
        if self._phase in (HEAD, BODY):
            self._give_up(Refusal(400, "the connection ended within the request"))
        self._complete = True
        self._phase = ENDING
        self._flush()
        return True  # _flush closes, now or when the last answer is written

    # ── heads that are known ─────────────────────────────────────────────────────────────────

    def _take_known(self, data: bytes) -> bytes:
        """Take the requests at the beginning of `data` whose heads are known; what is left."""
        known, router, start = self._known, self._desk.router, 0
        while known is not None and known.router is router and self._phase is IDLE:
            found = known.find(data, start)
            if found is None or not router.still(known.post, found[1]):
                break
            self._since = self._now
            self._cors = self._tail = b""
            start, length = found
            body = data[start : start + length]
            if len(body) < length:
                self._phase, self._post = BODY, known.post
                self._body, self._size, self._missing = body, len(body), length - len(body)
                return b""
            self._take(known.post, body)
            start += length
            if start == len(data):
                return b""
        return data[start:]

    def _go_on(self, data: bytes) -> bytes:
        """Take more of a body behind a known head; what follows it."""
        self._since = self._now
        body = data[: self._missing]
        self._missing -= len(body)
        self._size += len(body)
        self._keep_body(body)
        if not self._missing:
            self._end_body()
        return data[len(body) :]

    # ── the parser ───────────────────────────────────────────────────────────────────────────

    def _parse(self, data: bytes) -> None:
        self._piece = len(data)
        self._opening = data if self._phase is IDLE else b""
        if self._phase is HEAD:
            self._head_most += self._piece
        elif self._phase is BODY:
            self._since = self._now
            self._overhead += self._piece
        self._feed(data)
        self._check_bounds()

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The parser thinks that HTTP ends here. Go on with the same request, unupgraded.
                data = self._plain + data[upgrade.args[0] :]
                self._plain = self._opening = b""
                if self._phase is HEAD:
                    self._phase = IDLE
                    self._parser = httptools.HttpRequestParser(self)
                    continue
            except httptools.HttpParserCallbackError:
                raise  # our own fault: let the loop report it
            except httptools.HttpParserError as error:
                self._give_up(Refusal(400, f"this is not HTTP/1.1: {error}"))
            return

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
        self._opening = b""  # what follows in this piece is another request
        if self._phase is BODY:
            self._end_body()
            if not self._keep and self._phase is IDLE:
                self._phase = ENDING
                self._complete = True

    # ── reading a request ────────────────────────────────────────────────────────────────────

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
        router = self._desk.router
        self._cors = router.cors(head)
        self._tail = self._cors + _connection(head.version, keep=self._keep)
        try:
            verdict = router.judge(head)
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
        elif self._may_be_known(head):
            self._known = learn(self._opening, verdict, router)

    def _may_be_known(self, head: Head) -> bool:
        """Whether this head means the same with any other length, and asks for no other answer."""
        plain = not head.chunked and b"expect" not in head.fields
        return bool(self._opening) and not self._tail and plain

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

    def _end_body(self) -> None:
        self._phase = IDLE
        self._since = self._now
        if self._post is not None:
            post, body = self._post, bytes(self._body)
            self._post, self._body = None, b""
            self._take(post, body)

    def _check_bounds(self) -> None:
        # Of the piece in which a head began it is not known how much belongs to the head.
        if self._phase is HEAD and self._head_most - self._head_first > MAX_HEAD:
            self._end(refused(too_large()))
        elif self._phase is BODY and self._overhead > MAX_HEAD:
            self._give_up(Refusal(431, "chunk extensions or trailers are too long: send none"))

    # ── answering ────────────────────────────────────────────────────────────────────────────

    def _take(self, post: Post, body: bytes) -> None:
        desk, reply = self._desk, None
        try:
            events = desk.events(post, body)
        except Refusal as refusal:
            events = refused(refusal)
        if isinstance(events, Reply):
            reply = events
        else:
            ticket = Ticket(desk, post.stream, events, self._now, self._tail, self._on_answer)
            reply = desk.submit(post, ticket)
            if reply is None:
                self._outbox.put_later(ticket)
                return
        if desk.stopping:
            self._end(reply)
        else:
            self._outbox.put(reply, self._tail)

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


def _connection(version: str, *, keep: bool) -> bytes:
    if not keep:
        return CLOSE
    return KEEP if version == "1.0" else b""
