"""Where a request becomes an entry of the log, and the log's word an answer."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import BufferFault, BufferFull, BufferUnavailable
from forebay.daemon.ingest import responses
from forebay.daemon.ingest.body import read_body
from forebay.daemon.ingest.counts import Counts
from forebay.daemon.ingest.events import Events
from forebay.daemon.ingest.options import IngestOptions
from forebay.daemon.ingest.refusal import Refusal
from forebay.daemon.ingest.responses import Reply
from forebay.daemon.ingest.routes import Post, Router

_NOTHING = Receipt(0)


class Log(Protocol):
    """What ingest needs of the buffer; `forebay.buffer.Store` has it."""

    def subscribers(self, stream: str) -> tuple[str, ...]:
        """The sinks that take a stream."""
        ...

    def append(self, entry: Entry) -> asyncio.Future[Receipt]:
        """Store an entry; the future ends when it is durable.

        Raises BufferFull or BufferUnavailable, or sets one of them on the future.
        """
        ...


class Ticket:
    """A request whose events are on their way to the disk."""

    __slots__ = ("_desk", "_events", "_since", "_stream", "future", "tail")

    def __init__(
        self, desk: "Desk", stream: str, events: Events, future: asyncio.Future[Receipt]
    ) -> None:
        self._desk = desk
        self._stream = stream
        self._events = events
        self._since = desk.clock()
        self.future = future
        self.tail = b""
        """Header lines that the connection adds to the answer."""

    def reply(self) -> Reply:
        """The answer, once the future is done; to be asked for once."""
        return self._desk.settle(self._stream, self._events, self.future, self._since)


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
        self.judge = router.judge
        self.cors = router.cors
        self.max_body = int(options.max_body)
        self._max_event = int(options.max_event)

    def take(self, post: Post, body: bytes) -> Ticket | Reply:
        """Store the events of a request. Raises Refusal."""
        events = read_body(post, body, max_body=self.max_body, max_event=self._max_event)
        if events.rejected:
            self.counts.rejected(post.stream, events)
            if post.atomic or not events.count:
                return responses.unprocessable(events)
        if self.stopping:
            raise stopping()
        if not events.count:
            return responses.stored(events, _NOTHING)
        return self._append(post, events)

    def _append(self, post: Post, events: Events) -> Ticket | Reply:
        entry = Entry(
            post.stream, events.payload, events.count, events.attributes, post.key, events.keys
        )
        try:
            future = self._log.append(entry)
        except BufferFault as fault:
            return _unstored(fault)
        self._pending += 1
        return Ticket(self, post.stream, events, future)

    def settle(
        self, stream: str, events: Events, future: asyncio.Future[Receipt], since: float
    ) -> Reply:
        """The answer to an append that has ended."""
        self._pending -= 1
        if not self._pending and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        if future.cancelled():
            return _unstored(BufferUnavailable("the buffer was closed: send it again"))
        if (error := future.exception()) is not None:
            return _unstored(error)
        receipt = future.result()
        self.counts.stored(stream, events, receipt, self.clock() - since)
        return responses.stored(events, receipt)

    async def drain(self) -> None:
        """Wait until everything that was taken has its answer."""
        while self._pending:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle


def stopping() -> Refusal:
    """What is said while forebay shuts down."""
    return Refusal(503, "forebay is stopping: send it again", b"Retry-After: 1\r\n")


def _unstored(error: BaseException) -> Reply:
    if isinstance(error, BufferFull):
        return responses.come_back(429, str(error), error.retry_after)
    if isinstance(error, BufferFault):
        return responses.come_back(503, str(error), getattr(error, "retry_after", 1))
    context = {"message": "an append to the log failed unexpectedly", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)
    return responses.refused(Refusal(500, "forebay failed; its log says how"))
