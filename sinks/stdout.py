"""Events to standard output, one JSON object a line.

| what happened | answer |
|---|---|
| every line was taken | stored |
| the reader is gone (closed pipe), no standard output | `Hold` |
| no space left, I/O error | `Retry(ambiguous=True)` |

A reader that is slow, or stopped, blocks nobody else: a thread waits until there is room, and
gives up when the send is cancelled. The next send then begins on a line of its own.
"""

import asyncio
import errno
import os
import select
import threading
from concurrent.futures import ThreadPoolExecutor

from forebay.sinks.base import Answer, Batch, Context, Hold, Options, Retry, Sink

_STDOUT = 1
_CHUNK = select.PIPE_BUF
"""What a pipe that polls as writable takes without blocking (POSIX)."""
_LOOK_UP_MS = 100


class StdoutOptions(Options):
    """Options of `type = "stdout"`: there are none."""


class StdoutSink(Sink):
    """Writes to the descriptor `fd`, standard output."""

    options = StdoutOptions
    fd = _STDOUT

    def __init__(self, _options: StdoutOptions, context: Context) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"{context.name}-stdout")
        self._torn = False

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def send(self, batch: Batch) -> None:
        cancelled = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            answer = await loop.run_in_executor(
                self._threads, self._write, batch.ndjson() + b"\n", cancelled
            )
        finally:
            cancelled.set()
        if answer is not None:
            raise answer

    def _write(self, data: bytes, cancelled: threading.Event) -> Answer | None:
        left = memoryview(b"\n" + data if self._torn else data)
        try:
            writable = select.poll()
            writable.register(self.fd, select.POLLOUT)
            while left and not cancelled.is_set():
                if writable.poll(_LOOK_UP_MS):
                    left = left[os.write(self.fd, left[:_CHUNK]) :]
                    self._torn = bool(left)
        except OSError as error:
            return _answer_to(error)
        return None


def _answer_to(error: OSError) -> Answer:
    reason = f"standard output: {os.strerror(error.errno or errno.EIO)}"
    if error.errno in {errno.EPIPE, errno.EBADF}:
        return Hold(f"{reason}. Nobody reads it: start forebay with its output connected")
    return Retry(reason, ambiguous=True)
