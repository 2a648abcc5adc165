"""Events to files on this machine, one JSON object a line.

| what happened | answer |
|---|---|
| written and synced to disk, directory entries too | stored |
| no space left, quota, I/O error, anything else | `Retry` |
| … and what was written in part could not be taken back | `Retry(ambiguous=True)` |
| no permission, read-only, a file where a directory should be, name too long | `Hold` |

A batch is written whole to the file of each stream, or taken back. With compression each batch is
a gzip member or a zstd frame of its own, which `zcat` and `zstdcat` read through. All writing
happens in one thread of the sink's own.
"""

import asyncio
import errno
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated

from pydantic import ByteSize, Field, field_validator

from forebay.sinks._compression import Compression
from forebay.sinks._file_append import append, cut, whole_size
from forebay.sinks._file_names import Place, place
from forebay.sinks.base import Answer, Batch, Context, Hold, Options, Part, Retry, Sink
from forebay.sinks.units import Duration

_FOR_A_PERSON = frozenset(
    {
        errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM,
        errno.EROFS,
    }
)  # fmt: skip
_PLACES_REMEMBERED = 1000


class FileOptions(Options):
    """Options of `type = "file"`."""

    path: str = Field(
        description="Where to write, like `/data/{stream}/%Y-%m-%d.ndjson`: `{stream}` is the "
        "stream's name, `%Y` and the other codes of strftime are the time of writing, in UTC."
    )
    rotate_bytes: Annotated[ByteSize, Field(ge=1)] | None = Field(
        default=None,
        description="A file that would grow beyond this is left, and one with the next number "
        "begun. A batch is never divided between two.",
    )
    rotate_every: Annotated[Duration, Field(ge=timedelta(seconds=1))] | None = Field(
        default=None,
        description="A new file each time this passes, counted from 1970 in UTC (`1d`: at "
        "midnight); its beginning is put into the name.",
    )
    compression: Compression = Field(
        default=Compression.NONE,
        description="none, gzip or zstd; `.gz` or `.zst` is added to the name.",
    )

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if not path or path.endswith("/") or not path.isprintable():
            raise ValueError("write the path of a file, like /data/{stream}.ndjson")
        if unknown := set(re.findall(r"\{[^}]*\}?|\}", path)) - {"{stream}"}:
            raise ValueError(f"write {{stream}}, the only name there is, in place of {unknown}")
        return path


class FileSink(Sink):
    """Appends each batch to the file of its stream and its time."""

    options = FileOptions

    def __init__(self, options: FileOptions, context: Context) -> None:
        self._options = options
        self._wall_clock = context.wall_clock
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"{context.name}-file")
        # The number that each place has come to, and how large we left its file.
        self._reached: dict[Place, tuple[int, int | None]] = {}

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def send(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._threads, self._store, batch)
        if answer is not None:
            raise answer

    def _store(self, batch: Batch) -> Answer | None:
        touched: list[tuple[Place, Path, int]] = []
        where: Path | str = self._options.path
        try:
            for target, data in self._pieces(batch):
                where, number, size = self._room(target, len(data))
                touched.append((target, where, size))
                append(where, data)
                self._reached[target] = number, size + len(data)
        except OSError as error:
            return _answer_to(error, where, clean=self._take_back(touched))
        return None

    def _pieces(self, batch: Batch) -> Iterator[tuple[Place, bytes]]:
        """What goes to which place. Neighbours that share one are written at once."""
        now, options = self._wall_clock(), self._options
        every = None if options.rotate_every is None else options.rotate_every.total_seconds()

        def of(part: Part) -> Place:
            return place(options.path, options.compression.suffix, every, part.stream, now)

        for target, parts in groupby(batch.parts, of):
            lines = b"".join([part.payload + b"\n" for part in parts])
            yield target, options.compression.compress(lines)

    def _room(self, target: Place, length: int) -> tuple[Path, int, int]:
        """The file that takes `length` more bytes, its number and its size."""
        number, known = self._reached.pop(target, (None, None))
        number = target.latest() if number is None else number
        bound = self._options.rotate_bytes
        while True:
            path = target.numbered(number)
            size = self._size(path, known)
            if size is not None and not (bound and size and size + length > bound):
                break
            number, known = number + 1, None
        self._remember(target, number, size)
        return path, number, size

    def _size(self, path: Path, known: int | None) -> int | None:
        """How large a whole file is. Only one that we did not leave so needs a look inside."""
        if known and path.exists() and path.stat().st_size == known:
            return known
        return whole_size(path, self._options.compression)

    def _remember(self, target: Place, number: int, size: int) -> None:
        self._reached[target] = number, size
        if len(self._reached) > _PLACES_REMEMBERED:
            del self._reached[next(iter(self._reached))]

    def _take_back(self, touched: list[tuple[Place, Path, int]]) -> bool:
        """Undo what a batch has written before it failed; whether that went well."""
        clean = True
        for target, path, size in reversed(touched):
            self._reached.pop(target, None)
            try:
                cut(path, size)
            except FileNotFoundError:
                continue
            except OSError:
                clean = False
        return clean


def _answer_to(error: OSError, where: Path | str, *, clean: bool) -> Answer:
    reason = f"cannot write {where}: {os.strerror(error.errno or errno.EIO)}"
    if error.errno in _FOR_A_PERSON:
        return Hold(f"{reason}. Correct `path`, or the permissions along it")
    return Retry(reason, ambiguous=not clean)
