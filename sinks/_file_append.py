"""Append to files so that what was reported as stored is whole, whatever happened before.

Only the end of a file can be torn, by a crash while it was written; what was torn had not been
reported as stored, and comes again. What is found there and is not ours is never cut off.
"""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec
import zstandard

from forebay.sinks._compression import Compression

_BLOCK = 1024 * 1024
_MODE = 0o640
_GZIP_WINDOW = 31


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def append(path: Path, data: bytes) -> None:
    """Write at the end and sync; makes missing directories. Raises OSError."""
    _make_directory(path.parent)
    new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if new:
        _sync_directory(path.parent)


def cut(path: Path, size: int) -> None:
    """Take back what was appended after `size`. Raises OSError."""
    with path.open("r+b") as file:
        _cut(file, size)


def whole_size(path: Path, compression: Compression) -> int | None:
    """The size of a file, after mending an end that a crash tore.

    0 for no file; None for one with damage elsewhere than at its end, to be left alone. Raises
    OSError.
    """
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return 0
    with file:
        size = file.seek(0, os.SEEK_END)
        if compression is Compression.NONE:
            return _mend_lines(file, size)
        new: Callable[[], _Decompressor] = (
            (lambda: zlib.decompressobj(_GZIP_WINDOW))
            if compression is Compression.GZIP
            else zstandard.ZstdDecompressor().decompressobj
        )
        return _mend_members(file, size, new)


def _mend_lines(file: BinaryIO, size: int) -> int:
    """An event that is there in part is cut off; anything else gets the newline that it lacks."""
    tail = b""
    start = size
    while start and b"\n" not in tail:
        step = min(_BLOCK, start)
        start -= step
        file.seek(start)
        tail = file.read(step) + tail
    torn = tail[tail.rfind(b"\n") + 1 :]
    if not torn:
        return size
    if torn.lstrip(b" \t").startswith(b"{") and not _is_json(torn):
        _cut(file, size - len(torn))
        return size - len(torn)
    file.seek(0, os.SEEK_END)
    file.write(b"\n")
    file.flush()
    os.fsync(file.fileno())
    return size + 1


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _mend_members(
    file: BinaryIO, size: int, decompressor: Callable[[], _Decompressor]
) -> int | None:
    """A gzip member or zstd frame that is there in part is cut off."""
    whole = place = 0
    current = decompressor()
    file.seek(0)
    while chunk := file.read(_BLOCK):
        while chunk:
            try:
                current.decompress(chunk)
            except (zlib.error, zstandard.ZstdError):
                return None
            place += len(chunk) - len(current.unused_data)
            chunk = current.unused_data
            if current.eof:
                whole, current = place, decompressor()
    if whole < size:
        _cut(file, whole)
    return whole


def _cut(file: BinaryIO, size: int) -> None:
    file.truncate(size)
    file.flush()
    os.fsync(file.fileno())


def _make_directory(directory: Path) -> None:
    if not directory.is_dir():
        _make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    """A new name is on disk only once its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
