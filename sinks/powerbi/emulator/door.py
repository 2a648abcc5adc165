"""Where every request comes in and goes out: counted, held against the faults, answered.

arrive ─► pending of the dataset ─► fault ─► handler ─► (slow, latency) ─► leave
"""

import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from aiohttp import web

from forebay.sinks.powerbi.emulator.faults import Endpoint, Fault, FaultKind
from forebay.sinks.powerbi.emulator.refusal import throttled
from forebay.sinks.powerbi.emulator.reply import answered
from forebay.sinks.powerbi.emulator.world import PUSH_URL_TABLE, World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Sleep = Callable[[float], Awaitable[Any]]

# How long a client should wait for a place among the pending; documented nowhere.
_PENDING_RETRY_AFTER = 1.0


class Door:
    """The middleware around all handlers."""

    def __init__(self, world: World, sleep: Sleep) -> None:
        self._world = world
        self._sleep = sleep
        self._pending: Counter[str] = Counter()
        self._closing = False

    def __repr__(self) -> str:
        return f"Door(pending={dict(self._pending)})"

    def open(self) -> None:
        self._closing = False

    def close(self) -> None:
        """Let go of the requests that hang; their connections end without an answer."""
        self._closing = True
        self._world.clear_faults()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_/"):
            response = await answered(handler(request))
        else:
            response = await self._counted(request, handler)
        # None: the connection is closed already, and aiohttp's answer falls into the void.
        return web.Response() if response is None else response

    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse | None:
        stats, endpoint = self._world.stats, _endpoint(request)
        stats.arrived(rows=endpoint is Endpoint.ROWS, token=endpoint is Endpoint.TOKEN)
        self._world.changed()
        response = None
        try:
            response = await answered(self._serve(request, handler, endpoint))
        finally:
            stats.left(None if response is None else response.status)
            self._world.changed()
        return response

    async def _serve(
        self, request: web.Request, handler: Handler, endpoint: Endpoint
    ) -> web.StreamResponse | None:
        dataset = request.match_info.get("dataset")
        if endpoint is not Endpoint.ROWS or dataset is None:
            return await self._with_fault(request, handler, self._fault(request, endpoint))
        with self._place(dataset):
            response = await self._with_fault(request, handler, self._fault(request, endpoint))
            if latency := self._world.options.latency.total_seconds():
                await self._sleep(latency)
            return response

    def _fault(self, request: web.Request, endpoint: Endpoint) -> Fault | None:
        where = request.match_info
        table = PUSH_URL_TABLE if _is_push_url(request) else where.get("table")
        return self._world.faults.take(endpoint, where.get("dataset"), table)

    @contextmanager
    def _place(self, dataset: str) -> Iterator[None]:
        """One of the places for POSTs under way. Raises `Refused` when all are taken."""
        self._pending[dataset] += 1
        pending, limit = self._pending[dataset], self._world.options.pending
        self._world.stats.max_pending = max(self._world.stats.max_pending, pending)
        try:
            if limit and pending > limit:
                raise throttled(_PENDING_RETRY_AFTER, "pending requests")
            yield
        finally:
            self._pending[dataset] -= 1
            if not self._pending[dataset]:
                del self._pending[dataset]

    async def _with_fault(
        self, request: web.Request, handler: Handler, fault: Fault | None
    ) -> web.StreamResponse | None:
        kind = fault.kind if fault else None
        if fault and kind is FaultKind.STATUS:
            await request.read()
            return _scripted(fault)
        if kind is FaultKind.RESET:
            _reset(request)
            return None
        if kind is FaultKind.HANG:
            await self._world.faults_cleared()
            if self._closing:
                _hang_up(request)
                return None
        response = await answered(handler(request))
        if fault and fault.seconds:
            await self._sleep(fault.seconds)
        if kind is FaultKind.DROP_ANSWER:
            _hang_up(request)
            return None
        return response


def _endpoint(request: web.Request) -> Endpoint:
    if request.path.endswith("/oauth2/v2.0/token"):
        return Endpoint.TOKEN
    is_rows = request.method == "POST" and request.path.endswith("/rows")
    return Endpoint.ROWS if is_rows else Endpoint.OTHER


def _is_push_url(request: web.Request) -> bool:
    return request.path.startswith("/beta/")


def _scripted(fault: Fault) -> web.Response:
    headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
    status = fault.status or 200
    if fault.body is None:
        return web.Response(status=status, headers=headers)
    if isinstance(fault.body, str):
        return web.Response(status=status, headers=headers, text=fault.body)
    body = msgspec.json.encode(fault.body)
    return web.Response(status=status, headers=headers, body=body, content_type="application/json")


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _reset(request: web.Request) -> None:
    if request.transport is None:
        return
    # Without lingering a close sends RST rather than FIN.
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()
