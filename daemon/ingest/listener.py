"""Accepts connections on one socket, as many as may be served at once.

The loop's own servers accept without bound. Here a socket that has its fill is not read from: who
connects then waits in the kernel's backlog until somebody leaves.
"""

import asyncio
import socket

from forebay.daemon.ingest.desk import Desk
from forebay.daemon.ingest.link import Link
from forebay.daemon.ingest.protocol import Connection

_ACCEPT_AT_ONCE = 64
_RETRY_SECONDS = 1.0
_SWEEPS_PER_TIMEOUT = 4
_CLOSE_SECONDS = 2.0


class Listener:
    """Serves a listening socket from `start` to `close`."""

    def __init__(self, sock: socket.socket, desk: Desk) -> None:
        sock.settimeout(0)
        self.sock = sock
        self._desk = desk
        self._connections: set[Link] = set()
        self._openings: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._empty = asyncio.Event()

    def start(self) -> None:
        """Take connections from now on."""
        self._loop = asyncio.get_running_loop()
        self._resume()

    def stop(self) -> None:
        """Take no more; those that are open stay."""
        self._desk.stopping = True
        self._pause()
        self.sock.close()

    async def close(self) -> None:
        """End the open connections: with what was written to them, unless they do not read it."""
        self.stop()
        for timer in self._timers.values():
            timer.cancel()
        for connection in tuple(self._connections):
            connection.close()
        abort = self._loop.call_later(_CLOSE_SECONDS, self._abort)
        while self._connections:
            self._empty.clear()
            await self._empty.wait()
        abort.cancel()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def sweep(self) -> None:
        """Part with clients that are too slow."""
        now = self._desk.clock()
        for connection in tuple(self._connections):
            connection.sweep(now)

    def _tick(self) -> None:
        del self._timers["sweep"]
        self.sweep()
        self._tick_later()

    def _tick_later(self) -> None:
        """Sweep now and then: while there is anybody, so that who serves nobody sleeps."""
        if "sweep" in self._timers or not self._connections:
            return
        options = self._desk.options
        timeouts = (options.header_timeout, options.body_timeout, options.idle_timeout)
        wait = min(1.0, min(timeouts).total_seconds() / _SWEEPS_PER_TIMEOUT)
        self._timers["sweep"] = self._loop.call_later(max(wait, 0.01), self._tick)

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            if len(self._connections) >= self._desk.options.max_connections:
                self._pause()
                return
            try:
                client, _address = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # Out of file descriptors or memory: the backlog holds them until there are some.
                self._pause()
                self._timers["retry"] = self._loop.call_later(_RETRY_SECONDS, self._resume)
                return
            self._open(client)

    def _open(self, client: socket.socket) -> None:
        client.settimeout(0)
        connection = Connection(self._desk, self._gone)
        self._connections.add(connection)
        self._tick_later()
        task = self._loop.create_task(self._connect(client, connection))
        self._openings.add(task)
        task.add_done_callback(self._openings.discard)

    async def _connect(self, client: socket.socket, connection: Link) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, client)
        except OSError:  # the client has left already
            client.close()
            self._gone(connection)

    def _gone(self, connection: Link) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
        self._resume()

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self.sock)

    def _resume(self) -> None:
        if not self._accepting and not self._desk.stopping:
            self._accepting = True
            self._loop.add_reader(self.sock, self._accept)

    def _abort(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()
