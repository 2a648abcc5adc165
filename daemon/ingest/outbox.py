"""The answers of one connection, in the order of its requests."""

import asyncio
from collections import deque

from forebay.daemon.ingest.counts import Counts
from forebay.daemon.ingest.desk import Ticket
from forebay.daemon.ingest.responses import Reply, render


class Outbox:
    """Holds answers until those before them are ready."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._line: deque[bytes | Ticket] = deque()
        self._transport: asyncio.Transport | None = None
        self.writable = True
        """Whether the client reads what it is sent."""

    def open(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def close(self) -> None:
        """Nobody reads any more. What is under way is still settled and counted."""
        self._transport = None

    def __len__(self) -> int:
        return len(self._line)

    def put(self, reply: Reply, tail: bytes, *, bodiless: bool = False) -> None:
        """Take an answer."""
        self._counts.answered(reply.status)
        self._line.append(render(reply, tail, bodiless=bodiless))

    def put_raw(self, data: bytes) -> None:
        """Take an interim answer."""
        self._line.append(data)

    def put_later(self, ticket: Ticket) -> None:
        """Take an answer that is not there yet."""
        self._line.append(ticket)

    def flush(self) -> bool:
        """Write what is ready; whether nothing is left."""
        line = self._line
        ready: list[bytes] = []
        while line:
            item = line[0]
            if isinstance(item, Ticket):
                if not item.answer:
                    break
                item = item.answer
            ready.append(item)
            line.popleft()
        if ready and self._transport is not None:
            self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        return not line
