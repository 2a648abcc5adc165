"""How long a daemon takes from exec to the first 200 of /readyz."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import WAIT

_LOOK = 0.002


@contextmanager
def closed_port() -> Iterator[int]:
    """A port where every connection is refused: taken, but nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def free_port() -> int:
    """A port that is free now."""
    with closed_port() as port:
        return port


def seconds_to_ready(config: Path) -> float:
    """Start the daemon with this file, wait until it is ready, stop it."""
    port = free_port()
    environment = os.environ | {"FOREBAY_ADMIN__LISTEN": f"127.0.0.1:{port}"}
    began = time.perf_counter()
    command = [sys.executable, "-m", "forebay.daemon", "run", "-c", str(config)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            while not ready(port):
                if process.poll() is not None or time.perf_counter() > began + WAIT:
                    raise RuntimeError("forebay did not start")
                time.sleep(_LOOK)
            return time.perf_counter() - began
        finally:
            process.terminate()


def ready(port: int) -> bool:
    """Whether /readyz answers 200 now."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as sock:
            sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return sock.recv(4096).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False
