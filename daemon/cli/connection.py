"""HTTP to the daemon, over TCP or a Unix socket."""

import socket
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from forebay.daemon.cli.parser import UsageError
from forebay.daemon.settings import parse_address

FAILURES = (OSError, HTTPException)
"""What a request raises when it fails for reasons of the connection."""

LOCAL = {"Host": "localhost"}
"""The name by which every listener of this machine lets itself be called."""

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not bound


class UnixConnection(HTTPConnection):
    """HTTP over the Unix socket at `path`."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


def tcp(listen: str, timeout: float) -> HTTPConnection:
    """To a listener with this address, on this machine where it listens on every address."""
    host, port = parse_address(listen)
    return HTTPConnection(_EVERY_ADDRESS.get(host, host), port, timeout=timeout)


def to_url(url: str, timeout: float) -> HTTPConnection:
    """To `http://host:port` or `https://host:port`. Raises UsageError for anything else."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query:
        raise UsageError("--url must look like http://127.0.0.1:4680")
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(host, port, timeout=timeout)


def reason(error: BaseException) -> str:
    """Why a connection failed, in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection was closed" if isinstance(error, OSError) else "no HTTP came back"
