"""Ways to make a batch smaller. The same bytes in give the same bytes out."""

import gzip
from enum import StrEnum

import zstandard

_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


class Compression(StrEnum):
    """How bytes are compressed; the values are HTTP's names of the codings, or `none`."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """What the name of a file so compressed ends with."""
        return {"none": "", "gzip": ".gz", "zstd": ".zst"}[self.value]

    def compress(self, data: bytes) -> bytes:
        """One gzip member or zstd frame; several after one another are valid too."""
        match self:
            case Compression.GZIP:
                return gzip.compress(data, _GZIP_LEVEL, mtime=0)
            case Compression.ZSTD:
                return zstandard.ZstdCompressor(_ZSTD_LEVEL, write_checksum=True).compress(data)
            case Compression.NONE:
                return data
