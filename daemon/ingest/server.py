"""The ingest plane's life: start, stop accepting, drain, close."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from forebay.daemon.ingest.addresses import UnixListener, bind_tcp
from forebay.daemon.ingest.counts import Counts
from forebay.daemon.ingest.desk import Desk, Log
from forebay.daemon.ingest.guard import Guard
from forebay.daemon.ingest.listener import Listener
from forebay.daemon.ingest.options import IngestOptions, Unrouted
from forebay.daemon.ingest.routes import Router
from forebay.daemon.metrics import IngestMetrics


class IngestServer:
    """Takes events over TCP and a Unix socket, and answers when the log has them.

    To end: `stop_accepting`, `await drain`, `await close`, in this order.
    """

    def __init__(
        self,
        options: IngestOptions,
        log: Log,
        metrics: IngestMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._log = log
        self._desks = {
            family: Desk(options, self._router(family), log, Counts(metrics, name), clock)
            for family, name in ((socket.AF_INET, "tcp"), (socket.AF_UNIX, "unix"))
        }
        self._listeners: list[Listener] = []
        self._unix: UnixListener | None = None
        self._addresses: list[Any] = []

    def reconfigure(self, options: IngestOptions) -> None:
        """Judge by these options from the next request on; the sockets stay what they are."""
        self._options = options
        for family, desk in self._desks.items():
            desk.configure(options, self._router(family))

    def _router(self, family: int) -> Router:
        options = self._options
        guard = Guard(
            hosts=options.allowed_hosts,
            origins=options.allowed_origins,
            token=options.token.get_secret_value(),
            check_host=family != socket.AF_UNIX,
        )
        return Router(guard, self._routed(), int(options.max_body))

    def _routed(self) -> Callable[[str], bool]:
        if self._options.unrouted is Unrouted.STORE:
            return lambda _: True
        subscribers = self._log.subscribers
        return lambda stream: bool(subscribers(stream))

    async def start(self, inherited: Sequence[socket.socket] = ()) -> None:
        """Listen. Raises ListenError.

        `inherited` are sockets that listen already (systemd's): TCP ones stand in for `listen`,
        a Unix one for `socket`.
        """
        sockets = list(inherited)
        families = {sock.family for sock in sockets}
        try:
            if self._options.listen and not families & {socket.AF_INET, socket.AF_INET6}:
                sockets += await asyncio.to_thread(bind_tcp, self._options.listen)
            if self._options.socket and socket.AF_UNIX not in families:
                self._unix = UnixListener(self._options.socket, self._options.socket_mode)
                sockets.append(self._unix.sock)
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        for sock in sockets:
            family = socket.AF_UNIX if sock.family == socket.AF_UNIX else socket.AF_INET
            listener = Listener(sock, self._desks[family])
            self._listeners.append(listener)
            listener.start()
        self._addresses = [sock.getsockname() for sock in sockets if sock.family != socket.AF_UNIX]

    @property
    def tcp_address(self) -> tuple[str, int]:
        """Host and port of the first TCP listener, as bound. IndexError when there is none."""
        host, port = self._addresses[0][:2]
        return host, port

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return sum(listener.connections for listener in self._listeners)

    def stop_accepting(self) -> None:
        """Close the listeners. What comes on open connections from now on is answered 503."""
        for desk in self._desks.values():
            desk.stopping = True
        for listener in self._listeners:
            listener.stop()
        if self._unix is not None:
            self._unix.remove()

    async def drain(self) -> None:
        """Wait until every request that was taken has its answer written."""
        for desk in self._desks.values():
            await desk.drain()

    async def close(self) -> None:
        """End all connections, and let go of the sockets."""
        self.stop_accepting()
        await asyncio.gather(*(listener.close() for listener in self._listeners))

    def sweep(self) -> None:
        """Part with clients that are too slow. The listeners do so by themselves every second."""
        for listener in self._listeners:
            listener.sweep()
