"""Where to listen: from what the operator wrote to bound sockets."""

import contextlib
import socket
import stat
from pathlib import Path

BACKLOG = 1024


class ListenError(Exception):
    """A listener cannot be had. The message says why and what to do."""


def bind_tcp(listen: str) -> list[socket.socket]:
    """Sockets for `host:port` or `[v6]:port`, one for each address that the host stands for."""
    host, port = _host_and_port(listen)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"cannot listen on {listen}: {error}; check ingest.listen") from error
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in found:
            sock = socket.socket(family, kind, protocol)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ListenError(
            f"cannot listen on {listen}: {error.strerror}; "
            "stop what listens there, or set ingest.listen to another address"
        ) from error
    return sockets


def _host_and_port(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""  # an IPv6 address without its brackets
    if not (host and colon and port.isdecimal() and int(port) < 65536):  # noqa: PLR2004
        raise ListenError(
            f"cannot listen on {listen!r}: write an address and a port, "
            "like 127.0.0.1:4680 or [::1]:4680"
        )
    return host, int(port)


class UnixListener:
    """A Unix socket's file. One left behind by a process that is gone is taken over."""

    def __init__(self, path: str, mode: str) -> None:
        self._path = Path(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._make_way()
            self.sock.bind(path)
            self._inode = self._path.stat().st_ino
            # Nobody can connect before listen, so that the permissions are there in time.
            self._path.chmod(int(mode, 8))
            self.sock.listen(BACKLOG)
        except OSError as error:
            self.sock.close()
            raise ListenError(
                f"cannot listen on {path}: {error.strerror or error}; see ingest.socket"
            ) from error
        except ListenError:
            self.sock.close()
            raise

    def remove(self) -> None:
        """Remove the file, unless another process has put its own there."""
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _make_way(self) -> None:
        if not self._path.parent.is_dir():
            raise ListenError(
                f"cannot listen on {self._path}: its directory does not exist; "
                "make it, or set ingest.socket to another path"
            )
        try:
            mode = self._path.stat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ListenError(
                f"cannot listen on {self._path}: a file that is no socket is there; "
                "move it away, or set ingest.socket to another path"
            )
        if _is_served(self._path):
            raise ListenError(
                f"cannot listen on {self._path}: another process serves it; "
                "stop that one, or set ingest.socket to another path"
            )
        self._path.unlink()


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # a full backlog is an answer too
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True
        except ConnectionRefusedError:
            return False
        return True
