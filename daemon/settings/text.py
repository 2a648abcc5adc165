"""Sizes and durations as a person writes them, exactly."""

from datetime import timedelta

_BINARY_UNITS = (("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10))
_TIME_UNITS = (
    ("d", timedelta(days=1)),
    ("h", timedelta(hours=1)),
    ("m", timedelta(minutes=1)),
    ("s", timedelta(seconds=1)),
    ("ms", timedelta(milliseconds=1)),
    ("us", timedelta(microseconds=1)),
)


def size_text(size: int) -> str:
    """64KiB; in bytes, 1000B, where no larger unit is exact."""
    for unit, bits in _BINARY_UNITS:
        if size and size % (1 << bits) == 0:
            return f"{size >> bits}{unit}"
    return f"{size}B"


def duration_text(duration: timedelta) -> str:
    """1d, 250ms, 1h30m."""
    # durationpy writes floats, some of which it does not read again (1d1h3e-06s).
    text = ""
    for unit, length in _TIME_UNITS:
        count, duration = divmod(duration, length)
        if count:
            text += f"{count}{unit}"
    return text or "0s"
