"""Who may use the admin plane: every request passes here first."""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from forebay.daemon.admin.options import AdminOptions
from forebay.daemon.trust import Trust

_OPEN = frozenset({"/healthz", "/readyz"})
"""Probes carry no token."""


def guard(options: AdminOptions) -> Middleware:
    """403 for what a browser was tricked into, 401 without the token."""
    trust = Trust(
        hosts=options.allowed_hosts,
        origins=options.allowed_origins,
        token=options.token.get_secret_value(),
    )

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not trust.host(request.headers.get("Host", "localhost")):
            return failure(
                403, "this Host is not this machine: add it to admin.allowed_hosts if it should be"
            )
        origin = request.headers.get("Origin")
        if origin is not None and not (trust.origin(origin) or _own(request, origin)):
            return failure(
                403, "this Origin may not call: add it to admin.allowed_origins if it should"
            )
        given = request.headers.get("Authorization", "").encode()
        if request.path not in _OPEN and not trust.authorization(given):
            answer = failure(401, "send the token of admin.token as Authorization: Bearer")
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        return await handler(request)

    return check


def _own(request: web.Request, origin: str) -> bool:
    """Whether the request comes from a page that this listener served."""
    return origin.lower() == f"http://{request.host}".lower()


def failure(status: int, error: str) -> web.Response:
    """An error body as in the contract."""
    return web.json_response({"status": "failed", "error": error}, status=status)
