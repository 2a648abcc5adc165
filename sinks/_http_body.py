"""A body that goes out piece by piece: nobody else on the event loop waits for megabytes.

aiohttp disapproves of long bytes, and of a file it copies every piece.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter

PIECE: Final = 256 * 1024
"""Bytes that are written at once, about: some 100 µs. What is one already may be longer."""


class Body(payload.Payload):
    """`size` bytes, in pieces that are made when it is their turn. Sent once."""

    _autoclose = True

    def __init__(self, pieces: Iterable[bytes | memoryview], size: int) -> None:
        super().__init__(pieces)
        self._size = size

    @classmethod
    def of(cls, data: bytes) -> "Body":
        """Bytes that are there already; they are not copied."""
        view = memoryview(data)
        return cls((view[at : at + PIECE] for at in range(0, len(data), PIECE)), len(data))

    async def write(self, writer: AbstractStreamWriter) -> None:
        for number, piece in enumerate(self._value):
            if number:
                await asyncio.sleep(0)
            await writer.write(piece)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return b"".join(self._value).decode(encoding, errors)


def lines(payloads: Iterable[bytes]) -> Iterator[bytes]:
    """Each payload with a newline behind it, gathered to pieces of PIECE bytes at least."""
    group: list[bytes] = []
    size = 0
    for data in payloads:
        group.append(data)
        size += len(data)
        if size >= PIECE:
            yield b"\n".join([*group, b""])
            group, size = [], 0
    if group:
        yield b"\n".join([*group, b""])
