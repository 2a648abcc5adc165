"""Compresses large entries on a thread of its own, while the writer waits for the disk.

    loop ──► large? ──► packing ──► writer
                └── small, and nothing in front of it ──► writer

Small ones are left to the writer, who makes one segment of all that wait.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from forebay.buffer.operations import Append, Operation
from forebay.buffer.segment import Packer

LARGE: Final = 32 * 1024
"""Bytes of NDJSON from which an entry is worth the way through another thread."""


class Packing:
    """A station in front of the writer; `forward` hands operations on to it, in their order."""

    def __init__(self, forward: Callable[[list[Operation]], None]) -> None:
        self._forward = forward
        self._packer = Packer()
        self._queue: queue.SimpleQueue[list[Operation] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="forebay-packing", daemon=True)
        # Each is written by one thread alone. When they are equal, nothing is on its way.
        self._taken = self._passed = 0

    def start(self) -> None:
        """Begin to pack."""
        self._thread.start()

    def submit(self, operations: list[Operation]) -> None:
        """Take operations, from one thread alone."""
        if self._taken == self._passed and not any(map(_is_large, operations)):
            self._forward(operations)
        else:
            self._taken += 1
            self._queue.put(operations)

    def stop(self) -> None:
        """Hand on what was taken, and end. Blocks."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (operations := self._queue.get()) is not None:
            self._pack(operations)
            self._passed += 1

    def _pack(self, operations: Sequence[Operation]) -> None:
        """Hand on what is ready, rather than let it wait for the rest."""
        ready: list[Operation] = []
        for operation in operations:
            ready.append(operation)
            if isinstance(operation, Append) and _is_large(operation):
                with suppress(Exception):  # the writer meets it too, and knows whom to tell
                    operation.pieces = self._packer.pack(operation.entry)
                self._forward(ready)
                ready = []
        if ready:
            self._forward(ready)


def _is_large(operation: Operation) -> bool:
    return isinstance(operation, Append) and len(operation.entry.payload) >= LARGE
