"""The admin plane's paths."""

from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from forebay.daemon.admin.dead_letters import DeadLetterApi
from forebay.daemon.admin.guard import failure, guard
from forebay.daemon.admin.options import AdminOptions
from forebay.daemon.admin.sinks import SinkApi


class Api:
    """Handlers; what they show is handed in as functions."""

    def __init__(
        self,
        *,
        registry: CollectorRegistry,
        status: Callable[[], dict[str, Any]],
        unready: Callable[[], str | None],
        sinks: SinkApi,
        dead_letters: DeadLetterApi,
    ) -> None:
        self._registry = registry
        self._status = status
        self._unready = unready
        self._sinks = sinks
        self._dead_letters = dead_letters

    def application(self, options: AdminOptions) -> web.Application:
        """The application, behind its guard."""
        app = web.Application(middlewares=[errors, guard(options)])
        app.add_routes(
            [
                web.get("/metrics", self.metrics),
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
                web.get("/v1/status", self.status),
                *self._sinks.routes(),
                *self._dead_letters.routes(),
            ]
        )
        return app

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text, or OpenMetrics for those who ask for it."""
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(self._registry), headers={"Content-Type": content_type})

    async def healthz(self, _request: web.Request) -> web.Response:
        """The process can answer."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _request: web.Request) -> web.Response:
        """Events can be taken; a sink that is down does not matter."""
        if reason := self._unready():
            return failure(503, reason)
        return web.json_response({"status": "ready"})

    async def status(self, _request: web.Request) -> web.Response:
        """Everything at one look."""
        return web.json_response(self._status())


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors in the contract's words, whoever raised them."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        answer = failure(error.status, _mend(error))
        if allow := error.headers.get("Allow"):
            answer.headers["Allow"] = allow
        return answer
    except Exception:  # noqa: BLE001  whatever it was, the client learns only that it failed
        structlog.get_logger().exception("admin.failed", path=request.path)
        return failure(500, "forebay failed; its log says how")


def _mend(error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPNotFound):
        return "there is no such path; see the documentation of the admin plane"
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"use {', '.join(sorted(error.allowed_methods))} here"
    return error.reason
