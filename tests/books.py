"""Clients under way for as long as a test wants, and the books on what they were promised."""

import asyncio
import json
import random
from dataclasses import dataclass, field

import aiohttp
from daemon_process import JSON, NDJSON, Daemon
from patience import PATIENCE

MOST_LINES = 20
"""Events of one NDJSON request, at most."""


@dataclass
class Books:
    """Every id that was posted, and what the answer said of it."""

    acknowledged: dict[int, str] = field(default_factory=dict)
    """By `seq`: the ids that got a 200."""
    refused: set[str] = field(default_factory=set)
    """Ids that got any other status: nothing of them may be stored."""
    unanswered: set[str] = field(default_factory=set)
    """Ids whose connection broke before the answer: they may be stored or not."""
    statuses: set[int] = field(default_factory=set)


class Clients:
    """Posts unique ids to whichever daemon is `up`, each client one request at a time."""

    def __init__(self, session: aiohttp.ClientSession, count: int, seed: int) -> None:
        self.books = Books()
        self._session = session
        self._daemon: Daemon | None = None
        self._up = asyncio.Event()
        self._changed = asyncio.Event()
        self._leaving = False
        self._tasks = [
            asyncio.create_task(self._work(number, random.Random(seed + number)))
            for number in range(count)
        ]

    def up(self, daemon: Daemon) -> None:
        """Post to this daemon from now on."""
        self._daemon = daemon
        self._up.set()

    def down(self) -> None:
        """Begin no request until the next `up`; those under way go on."""
        self._up.clear()

    async def acknowledgements(self, more: int) -> None:
        """Wait until so many more events got their 200."""
        wanted = len(self.books.acknowledged) + more
        async with asyncio.timeout(PATIENCE):
            while len(self.books.acknowledged) < wanted:
                await self._changed.wait()

    async def leave(self) -> None:
        """End, when the requests under way have ended."""
        self._leaving = True
        self._up.set()
        await asyncio.gather(*self._tasks)

    async def _work(self, client: int, rng: random.Random) -> None:
        posted = 0
        while True:
            await self._up.wait()
            if self._leaving or self._daemon is None:
                return
            # Half of all requests carry a single event.
            count = rng.choice((1, rng.randint(2, MOST_LINES)))
            ids = [f"{client}-{number}" for number in range(posted, posted + count)]
            posted += count
            await self._post(self._daemon, ids)
            self._changed.set()
            self._changed = asyncio.Event()

    async def _post(self, daemon: Daemon, ids: list[str]) -> None:
        books, body = self.books, "\n".join(json.dumps({"id": id_}) for id_ in ids)
        url, headers = f"{daemon.ingest}/v1/events/demo", JSON if len(ids) == 1 else NDJSON
        try:
            async with self._session.post(url, data=body, headers=headers) as answer:
                status, said = answer.status, await answer.json()
        except (aiohttp.ClientError, OSError):
            books.unanswered.update(ids)
            if self._daemon is daemon:
                self.down()  # not before it is up again
            return
        books.statuses.add(status)
        if status == 200:
            assert said["accepted"] == len(ids), said
            books.acknowledged.update(enumerate(ids, said["first_seq"]))
        else:
            books.refused.update(ids)
