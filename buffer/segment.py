"""Segments: how the events of one stream and commit are packed, checked and cut.

NDJSON ──zstd──► data ┐
attributes ──zstd─────┼── CRC-32 over these and the row's other columns
seq, count, stream …──┘
"""

import struct
import threading
import zlib

import msgspec
import zstandard
from msgspec.structs import replace

from forebay.buffer.database import PAGE_SIZE
from forebay.buffer.entry import Entry
from forebay.buffer.errors import BufferDamaged

MAX_SIZE = 1024 * 1024
"""Bytes of NDJSON in a segment, at most (unless one event is larger): bounds what a read holds."""

# Events repeat each other's keys at short distances. A table smaller than level 1's own finds fewer
# false matches among random digits: bookings take 4 % less space, and a fifth less time.
_COMPRESSION = zstandard.ZstdCompressionParameters.from_level(1, hash_log=12, min_match=6)
_HEADER = struct.Struct("<qqqdq")

Attributes = tuple[dict[str, str] | None, ...] | None

_thread = threading.local()
"""A decompressor is dear to make, and must not be used by two threads at once."""
_decode_attributes = msgspec.json.Decoder(tuple[dict[str, str] | None, ...]).decode


class Slice(msgspec.Struct, frozen=True):
    """Consecutive events of one stream, as read from the log.

    A Struct, for there are as many as commits: it is made in a tenth of a dataclass' time.

    `payload` is NDJSON without a newline at the end; `received_at` is in seconds since the epoch.
    """

    stream: str
    first_seq: int
    count: int
    received_at: float
    payload: bytes
    attributes: Attributes = None

    @property
    def next_seq(self) -> int:
        return self.first_seq + self.count

    def split(self, count: int) -> tuple["Slice", "Slice"]:
        """The first `count` events, and the others; both must be left with at least one."""
        at = _after_events(self.payload, count)
        head = replace(
            self,
            count=count,
            payload=self.payload[: at - 1],
            attributes=self.attributes and self.attributes[:count],
        )
        tail = replace(
            self,
            first_seq=self.first_seq + count,
            count=self.count - count,
            payload=self.payload[at:],
            attributes=self.attributes and self.attributes[count:],
        )
        return head, tail

    def fitting(self, size: int) -> int:
        """How many of the first events fit into `size` bytes."""
        if len(self.payload) <= size:
            return self.count
        end = self.payload.rfind(b"\n", 0, size + 1)
        return 0 if end < 0 else self.payload.count(b"\n", 0, end) + 1


class Row(msgspec.Struct, frozen=True, gc=False):
    """A segment as it stands in the table."""

    first_seq: int
    events: int
    stream: int
    received_at: float
    size: int
    checksum: int
    attributes: bytes | None
    data: bytes

    @property
    def space(self) -> int:
        """Bytes of the pages that it takes at most: overflow chains, places in the tree."""
        size = len(self.data) + len(self.attributes or b"")
        return PAGE_SIZE * (size // (PAGE_SIZE - 4) + 2)


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A segment that has no place in the log yet."""

    payload: bytes
    events: int
    attributes: Attributes
    data: bytes
    extra: bytes | None
    """`payload` and `attributes`, compressed."""

    def at(self, first_seq: int, stream: int, received_at: float) -> Row:
        """The row at this place."""
        header = (first_seq, self.events, stream, received_at, len(self.payload))
        checksum = _checksum(header, self.extra, self.data)
        return Row(*header, checksum, self.extra, self.data)


class Packer:
    """Compresses; one per thread."""

    def __init__(self) -> None:
        self._compress = zstandard.ZstdCompressor(compression_params=_COMPRESSION).compress

    def pack(self, entry: Entry) -> list[Piece]:
        """The segments for an entry's events."""
        pieces: list[Piece] = []
        first = 0
        for payload, events in chunks(entry.payload, entry.count):
            attributes = entry.attributes and entry.attributes[first : first + events]
            data, extra = self._compress(payload), None
            if attributes is not None:
                extra = self._compress(msgspec.json.encode(attributes))
            pieces.append(Piece(payload, events, attributes, data, extra))
            first += events
        return pieces


def unpack(row: Row, stream: str) -> Slice:
    """The events of a row. Raises BufferDamaged when it is not what was written."""
    header = (row.first_seq, row.events, row.stream, row.received_at, row.size)
    if _checksum(header, row.attributes, row.data) != row.checksum:
        raise BufferDamaged(f"segment {row.first_seq}: the checksum does not match")
    try:
        payload = _inflate(row.data, row.size)
        attributes = None
        if row.attributes is not None:
            attributes = _decode_attributes(_inflate(row.attributes))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise BufferDamaged(f"segment {row.first_seq}: {error}") from error
    return Slice(stream, row.first_seq, row.events, row.received_at, payload, attributes)


def _inflate(data: bytes, size: int = 0) -> bytes:
    """What was compressed; `size` must be given where it was not written into it."""
    try:
        decompress = _thread.decompress
    except AttributeError:
        decompress = _thread.decompress = zstandard.ZstdDecompressor().decompress
    payload: bytes = decompress(data, max_output_size=size)
    return payload


def chunks(payload: bytes, count: int) -> list[tuple[bytes, int]]:
    """NDJSON of `count` events cut into pieces of at most MAX_SIZE, each with its event count."""
    if len(payload) <= MAX_SIZE:
        return [(payload, count)]
    pieces: list[tuple[bytes, int]] = []
    start, left = 0, count
    while len(payload) - start > MAX_SIZE:
        end = payload.rfind(b"\n", start, start + MAX_SIZE + 1)
        if end < 0:  # one event larger than a segment
            end = payload.find(b"\n", start)
            if end < 0:
                break
        events = payload.count(b"\n", start, end) + 1
        pieces.append((payload[start:end], events))
        start, left = end + 1, left - events
    pieces.append((payload[start:], left))
    return pieces


def _checksum(
    header: tuple[int, int, int, float, int], attributes: bytes | None, data: bytes
) -> int:
    return zlib.crc32(data, zlib.crc32(attributes or b"", zlib.crc32(_HEADER.pack(*header))))


def _after_events(payload: bytes, count: int) -> int:
    """The offset right behind the newline of event number `count`."""
    rest = payload.split(b"\n", count)[-1]
    return len(payload) - len(rest)
