"""Who may use the admin plane: every request passes here first."""

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler, Middleware

from forebay.daemon.admin.options import AdminOptions
from forebay.daemon.trust import Trust

_OPEN = frozenset({"/healthz", "/readyz"})
"""Probes carry no token."""


def guard(options: AdminOptions) -> Middleware:
    """400 and 403 for what a browser was tricked into, 401 without the token."""
    trust = Trust(
        hosts=options.allowed_hosts,
        origins=options.allowed_origins,
        token=options.token.get_secret_value(),
    )

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refusal(request, trust)
        if refused is not None:
            return refused
        answer = _preflight(request) or _unauthorized(request, trust) or await handler(request)
        if "Origin" in request.headers:
            answer.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            answer.headers["Vary"] = "Origin"
        return answer

    return check


def failure(status: int, error: str) -> web.Response:
    """An error body as in the contract."""
    return web.json_response({"status": "failed", "error": error}, status=status)


def _refusal(request: web.Request, trust: Trust) -> web.Response | None:
    """What is said to somebody whom we do not talk to."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if host is None and request.version >= HttpVersion11:
        return failure(400, "HTTP/1.1 needs a Host header")
    if host is not None and not trust.host(host):
        return failure(
            403, "this Host is not this machine: add it to admin.allowed_hosts if it should be"
        )
    if origin is not None and not (trust.origin(origin) or _own(request, origin)):
        return failure(
            403, "this Origin may not call: add it to admin.allowed_origins if it should"
        )
    return None


def _own(request: web.Request, origin: str) -> bool:
    """Whether the request comes from a page that this listener served."""
    return origin.lower() == f"http://{request.host}".lower()


def _preflight(request: web.Request) -> web.Response | None:
    """A browser asks, without a token, whether a page may call (CORS)."""
    asked = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or asked is None or "Origin" not in request.headers:
        return None
    wanted = request.headers.get("Access-Control-Request-Headers", "authorization, content-type")
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": wanted,
            "Access-Control-Max-Age": "600",
        },
    )


def _unauthorized(request: web.Request, trust: Trust) -> web.Response | None:
    given = request.headers.get("Authorization", "").encode()
    if request.path in _OPEN or trust.authorization(given):
        return None
    answer = failure(401, "send the token of admin.token as Authorization: Bearer")
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
