"""A clock and a sleep that tests move, and a small client of the emulator."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from forebay.sinks.powerbi.emulator import Emulator

SCOPE = "https://analysis.windows.net/powerbi/api/.default"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Sleeper:
    """Sleeps until it is told to wake; remembers how long it was asked to sleep."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.wake = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.wake.wait()


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        return self.body["error"]["code"]


@dataclass
class Client:
    emulator: Emulator
    session: aiohttp.ClientSession
    token: str = ""

    async def ask(self, method: str, path: str, **kwargs: Any) -> Answer:
        url = path if "://" in path else self.emulator.url + path
        headers = kwargs.pop("headers", {})
        if self.token:
            headers = {"Authorization": f"Bearer {self.token}"} | headers
        async with self.session.request(method, url, headers=headers, **kwargs) as response:
            body = await response.read()
            return Answer(
                response.status, msgspec.json.decode(body) if body else None, response.headers
            )

    async def sign_in(self, tenant: str = "t", **fields: str) -> Answer:
        form = {
            "grant_type": "client_credentials",
            "client_id": "app",
            "client_secret": "secret",
            "scope": SCOPE,
        } | fields
        answer = await self.ask("POST", f"/{tenant}/oauth2/v2.0/token", data=form)
        if answer.status == 200:
            self.token = answer.body["access_token"]
        return answer

    async def post(
        self, rows: bytes = b'[{"a":1}]', dataset: str = "d", table: str = "t", **kwargs: Any
    ) -> Answer:
        """POST `{"rows": rows}`."""
        path = f"/v1.0/myorg/groups/w/datasets/{dataset}/tables/{table}/rows"
        # A stream, because aiohttp warns of large bytes.
        body = io.BytesIO(b'{"rows": ' + rows + b"}")
        return await self.ask("POST", path, data=body, **kwargs)

    async def push(self, rows: bytes = b'[{"a":1}]', dataset: str = "d") -> Answer:
        return await self.ask("POST", self.emulator.push_url(dataset), data=rows)

    def start(self, asking: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        return asyncio.create_task(asking)


Connect = Callable[..., Awaitable[Client]]
