"""Where a request becomes an entry of the log, and the log's word an answer."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferFault, BufferFull
from forebay.daemon.ingest import responses
from forebay.daemon.ingest.body import read_body
from forebay.daemon.ingest.counts import Counts
from forebay.daemon.ingest.events import Events
from forebay.daemon.ingest.options import IngestOptions
from forebay.daemon.ingest.refusal import Refusal
from forebay.daemon.ingest.responses import Reply, render
from forebay.daemon.ingest.routes import Post, Router

_NOTHING = Receipt(0)


class Log(Protocol):
    """What ingest needs of the buffer; `forebay.buffer.Store` has it."""

    def subscribers(self, stream: str) -> tuple[str, ...]:
        """The sinks that take a stream."""
        ...

    def submit(self, entry: Entry, done: Callable[[Receipt | BufferFault], None]) -> None:
        """Store an entry; `done` learns of it, later and once, when it is durable or refused.

        Raises BufferFull or BufferUnavailable where that is known at once.
        """
        ...


class Ticket(msgspec.Struct):
    """A request whose events are on their way to the disk."""

    desk: "Desk"
    stream: str
    events: Events
    since: float
    """When the request was complete, on the desk's clock."""
    tail: bytes
    """Header lines that the connection adds to the answer."""
    ready: Callable[[float], None]
    """Called with the time once there is an answer."""
    answer: bytes = b""
    """As it goes over the wire; empty as long as there is none."""

    def done(self, outcome: Receipt | BufferFault) -> None:
        """The log has spoken."""
        now = self.desk.clock()
        self.answer = self.desk.settle(self, outcome, now)
        self.ready(now)


class Desk:
    """One listener's way from requests to the log. Shared by its connections."""

    def __init__(
        self,
        options: IngestOptions,
        router: Router,
        log: Log,
        counts: Counts,
        clock: Callable[[], float],
    ) -> None:
        self.configure(options, router)
        self.counts = counts
        self.clock = clock
        self.stopping = False
        self._log = log
        self._pending = 0
        self._idle: asyncio.Future[None] | None = None

    def configure(self, options: IngestOptions, router: Router) -> None:
        """Judge by these from the next request on."""
        self.options = options
        self.router = router
        self.max_body = int(options.max_body)
        self._max_event = int(options.max_event)

    def events(self, post: Post, body: bytes) -> Events | Reply:
        """What a body holds, or the answer when none of it is to be stored. Raises Refusal."""
        events = read_body(post, body, max_body=self.max_body, max_event=self._max_event)
        if events.rejected:
            self.counts.rejected(post.stream, events)
            if post.atomic or not events.count:
                return responses.unprocessable(events)
        if self.stopping:
            raise stopping()
        return events if events.count else responses.stored(events, _NOTHING)

    def submit(self, post: Post, ticket: Ticket) -> Reply | None:
        """Store the events of a ticket; an answer only when that is refused at once."""
        events = ticket.events
        entry = Entry(
            post.stream, events.payload, events.count, events.attributes, post.key, events.keys
        )
        try:
            self._log.submit(entry, ticket.done)
        except BufferFault as fault:
            return _unstored(fault)
        self._pending += 1
        return None

    def settle(self, ticket: Ticket, outcome: Receipt | BufferFault, now: float) -> bytes:
        """The answer to what has ended."""
        self._pending -= 1
        if not self._pending and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        if isinstance(outcome, Receipt):
            self.counts.stored(ticket.stream, ticket.events, outcome, now - ticket.since)
            reply = responses.stored(ticket.events, outcome)
        else:
            reply = _unstored(outcome)
        self.counts.answered(reply.status)
        return render(reply, ticket.tail)

    async def drain(self) -> None:
        """Wait until everything that was taken has its answer."""
        while self._pending:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle


def stopping() -> Refusal:
    """What is said while forebay shuts down."""
    return Refusal(503, "forebay is stopping: send it again", b"Retry-After: 1\r\n")


def _unstored(fault: BufferFault) -> Reply:
    if isinstance(fault, BufferFull):
        return responses.come_back(429, str(fault), fault.retry_after)
    return responses.come_back(503, str(fault), getattr(fault, "retry_after", 1))
