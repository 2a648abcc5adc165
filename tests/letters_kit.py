"""Dead letters in a real store, behind the real admin plane."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from forebay.buffer import (
    BufferOptions,
    DeadLetter,
    Durability,
    Entry,
    Outcome,
    Selection,
    Store,
)
from forebay.daemon.admin.api import Api
from forebay.daemon.admin.dead_letters import DeadLetterApi
from forebay.daemon.admin.options import AdminOptions
from forebay.daemon.admin.server import AdminServer
from forebay.daemon.admin.sinks import SinkApi

TOKEN = "hush-hush-hush"
EVENT = b'{"n":1.10,"m":1e3,"m":-0.0,"big":12345678901234567890123,"u":"\xc3\xa9 \\u00e9"}'
"""What a parser would write otherwise: spellings of numbers, a key twice, an escape."""


@dataclass
class Plane:
    """An admin plane that listens. `configured` are the sinks that are delivered to."""

    store: Store
    session: aiohttp.ClientSession
    address: str = ""
    configured: set[str] = field(default_factory=lambda: {"sales", "other"})

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        """Status and body; with the token, unless there are `headers`."""
        options.setdefault("headers", {"Authorization": f"Bearer {TOKEN}"})
        url = f"http://{self.address}{path}"
        async with self.session.request(method, url, **options) as answer:
            return answer.status, await answer.read()

    async def bury(
        self, sink: str, *events: bytes, stream: str = "bookings", **changes: Any
    ) -> list[int]:
        """New dead letters of `sink`; their ids."""
        receipt = await self.store.append(Entry(stream, b"\n".join(events), len(events)))
        first, last = receipt.first_seq, receipt.last_seq
        assert first is not None
        assert last is not None
        for number, event in enumerate(events, first):
            letter = DeadLetter(
                sink, stream, number, 1.7e9, 1.7e9 + 60.5, 2, 400, "Bad Request", event
            )
            letters = [replace(letter, **changes)]
            self.store.settle(sink, number, number, {Outcome.DEAD_LETTERED: 1}, letters)
        await self.store.flush()
        return [letter.id for letter in await self.kept() if first <= letter.seq <= last]

    async def kept(self) -> list[DeadLetter]:
        """All dead letters."""
        found: list[DeadLetter] = []
        while page := await self.store.dead_letters(
            Selection(after=found[-1].id if found else 0), 10_000
        ):
            found += page
        return found

    async def in_line(self, sink: str = "sales") -> list[int]:
        """The ids of those that were put back."""
        return [letter.id for letter in await self.store.replaying(sink, 10_000)]

    def status(self) -> dict[str, Any]:
        sinks = self.store.ledger.sinks.items()
        return {"sinks": {name: {"dead_letters": sink.dead_letters} for name, sink in sinks}}

    def api(self) -> Api:
        async def reload() -> dict[str, list[str]]:
            return {}

        return Api(
            registry=CollectorRegistry(),
            status=self.status,
            unready=lambda: None,
            sinks=SinkApi(self.store, dict, reload),
            dead_letters=DeadLetterApi(self.store, lambda: self.configured),
        )


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Plane]:
    """A plane with the sinks `sales`, `other` and, no longer configured, `gone`."""
    path = directory / "buffer.db"
    store = Store(BufferOptions(path=path, durability=Durability.OS))
    await store.open()
    for sink in ("sales", "other", "gone"):
        await store.subscribe(sink, ("*",), start_now=False)
    async with aiohttp.ClientSession() as session:
        plane = Plane(store, session)
        options = AdminOptions(token=SecretStr(TOKEN))
        server = AdminServer(plane.api().application(options))
        await server.start("127.0.0.1", 0)
        assert server.address is not None
        plane.address = f"{server.address[0]}:{server.address[1]}"
        try:
            yield plane
        finally:
            await server.close()
            await store.close()
