"""`Content-Encoding`: from what was sent to what was meant, within bounds.

    body ──► last coding undone ──► … ──► first coding undone ──► at most `limit` bytes

Several codings are undone in the reverse of the order in which they are listed (RFC 9110, 8.4),
at most two of them. Output is bounded while it comes, so that a bomb costs no more than a full
body. Concatenated gzip members and zstd frames are one body; anything after them is a fault.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Final

import zstandard

from forebay.daemon.ingest.refusal import Refusal

MAX_CODINGS: Final = 2
MAX_MEMBERS: Final = 10_000
"""Gzip members or zstd frames in a body: each costs a decoder, however small it is."""

_ZLIB_SLICE = 64 * 1024
# A zstd block of 4 bytes can stand for 128 KiB, so that 512 bytes can make 16 MiB at most.
_ZSTD_SLICE = 512
_ZSTD_WINDOW = 8 * 1024**2  # what every decoder of HTTP must bear (RFC 9659)


class _BrokenError(Exception):
    """The stream is not what its coding says."""


def codings(value: bytes) -> tuple[str, ...]:
    """The codings that a `Content-Encoding` lists, without `identity`. 415 for unknown ones."""
    names = [name.strip().lower() for name in value.decode("latin-1").split(",")]
    wanted = tuple(name for name in names if name not in ("", "identity"))
    if len(wanted) > MAX_CODINGS or any(name not in _DECODERS for name in wanted):
        raise Refusal(
            415,
            f"send Content-Encoding gzip, deflate, zstd or identity, at most {MAX_CODINGS} of them",
            b"Accept-Encoding: gzip, deflate, zstd\r\n",
        )
    return wanted


def decoded(body: bytes, names: tuple[str, ...], limit: int) -> bytes:
    """The body without its codings. 400 when it is broken, 413 beyond `limit` bytes."""
    for name in reversed(names):
        try:
            body = _bounded(_DECODERS[name](body, limit), limit)
        except (_BrokenError, zlib.error, zstandard.ZstdError) as error:
            raise Refusal(400, f"the body is not valid {name}: {error}") from error
    return body


def _bounded(pieces: Iterator[bytes], limit: int) -> bytes:
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise Refusal(
                413, f"the decoded body is over {limit} bytes (ingest.max_body): send less at once"
            )
        kept.append(piece)
    return kept[0] if len(kept) == 1 else b"".join(kept)


def _gzip(body: bytes, limit: int) -> Iterator[bytes]:
    return _members(body, lambda: _Zlib(31, limit), _ZLIB_SLICE)


def _deflate(body: bytes, limit: int) -> Iterator[bytes]:
    # "deflate" is zlib's format, but some clients send the bare stream (RFC 9110, 8.4.1.2). Zlib's
    # two bytes at the start tell them apart.
    wrapped = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0
    bits = 15 if wrapped else -15
    return _members(body, lambda: _Zlib(bits, limit), _ZLIB_SLICE, most=1)


def _zstd(body: bytes, limit: int) -> Iterator[bytes]:
    context = zstandard.ZstdDecompressor(max_window_size=max(_ZSTD_WINDOW, limit))
    return _members(body, lambda: _Zstd(context), _ZSTD_SLICE)


_DECODERS: Final[dict[str, Callable[[bytes, int], Iterator[bytes]]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}


class _Zlib:
    """One zlib stream; feeds on slices and never holds more than `limit` bytes and one."""

    def __init__(self, bits: int, limit: int) -> None:
        self._stream = zlib.decompressobj(bits)
        self._most = limit + 1

    def feed(self, data: memoryview) -> bytes:
        # What does not fit is dropped: the caller stops at this size.
        return self._stream.decompress(data, self._most)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused(self) -> int:
        return len(self._stream.unused_data)


class _Zstd:
    """One zstd frame."""

    def __init__(self, context: zstandard.ZstdDecompressor) -> None:
        self._frame = context.decompressobj()

    def feed(self, data: memoryview) -> bytes:
        return self._frame.decompress(data)

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused(self) -> int:
        return len(self._frame.unused_data)


def _members(
    body: bytes, make: Callable[[], _Zlib | _Zstd], size: int, most: int = MAX_MEMBERS
) -> Iterator[bytes]:
    """Undo one stream after another, in slices of `size` bytes."""
    view = memoryview(body)
    members, position = 0, 0
    stream = None
    while stream is None or position < len(view):
        if stream is None or stream.eof:
            members += 1
            if members > most:
                raise _BrokenError("something follows its end")
            stream = make()
        piece = view[position : position + size]
        yield stream.feed(piece)
        position += len(piece) - stream.unused
    if not stream.eof:
        raise _BrokenError("it ends too early")
