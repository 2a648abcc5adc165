"""The checks of one listener that keep out web pages and those without the token."""

from collections.abc import Iterable

from forebay.daemon.ingest.head import Head
from forebay.daemon.ingest.refusal import Refusal
from forebay.daemon.trust import Trust

_REMEMBERED = 256
_PREFLIGHT = (
    b"Access-Control-Allow-Methods: POST\r\n"
    b"Access-Control-Allow-Headers: %s\r\n"
    b"Access-Control-Max-Age: 600\r\n"
)


class Guard:
    """The checks of one listener: 403 and 401.

    On TCP `Host` must be a loopback name or one of `hosts`. HTTP/1.1 without `Host`, or with
    two, is 400 (RFC 9112, 3.2); HTTP/1.0 without it passes, since no browser sends that. On a
    Unix socket (`check_host=False`) `Host` means nothing and is not looked at; `Origin` is.
    """

    def __init__(
        self, *, hosts: Iterable[str], origins: Iterable[str], token: str, check_host: bool
    ) -> None:
        self._trust = Trust(hosts=hosts, origins=origins, token=token)
        self._check_host = check_host
        self._good: set[bytes] = set()  # values of Host that passed, as they were written

    def check_source(self, head: Head) -> None:
        """Refuse a request that a browser was tricked into (403)."""
        if self._check_host:
            host = head.fields.get(b"host")
            if host not in self._good:
                self._check_host_value(host, head.version)
        if b"origin" in head.fields and not self.cors(head):
            raise Refusal(
                403, "this Origin may not post here: add it to ingest.allowed_origins if it should"
            )

    def check_authority(self, authority: bytes) -> None:
        """Refuse a request whose target names another host (403)."""
        if self._check_host:
            self._check_host_value(authority, "1.1")

    def check_token(self, head: Head) -> None:
        """Refuse a request without the token (401)."""
        if not self._trust.authorization(head.fields.get(b"authorization", b"")):
            raise Refusal(
                401,
                "send the token of ingest.token as Authorization: Bearer",
                b"WWW-Authenticate: Bearer\r\n",
            )

    def cors(self, head: Head) -> bytes:
        """Header lines that let an allowed web page read the answer; empty for any other."""
        origin = head.fields.get(b"origin")
        if origin is None or not self._trust.origin(origin.decode("latin-1")):
            return b""
        lines = b"Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n" % origin
        if is_preflight(head):
            asked = head.fields.get(b"access-control-request-headers", b"content-type")
            lines += _PREFLIGHT % asked
        return lines

    def _check_host_value(self, host: bytes | None, version: str) -> None:
        if host is None:
            if version == "1.0":
                return
            raise Refusal(400, "HTTP/1.1 needs a Host header")
        if b"," in host:
            raise Refusal(400, "send one Host header")
        if not self._trust.host(host.decode("latin-1")):
            raise Refusal(
                403, "this Host is not this machine: add it to ingest.allowed_hosts if it should be"
            )
        if len(self._good) < _REMEMBERED:
            self._good.add(host)


def is_preflight(head: Head) -> bool:
    """Whether a browser asks if a page may post (CORS)."""
    return head.method == b"OPTIONS" and b"access-control-request-method" in head.fields
