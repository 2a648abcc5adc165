"""Places where events go, one file or folder each.

A sink of your own needs `Sink`, `Options`, `Batch` and the answers, all from here.
"""

from forebay.sinks.base import (
    Answer,
    Batch,
    Context,
    Hold,
    Limits,
    Options,
    Part,
    Quota,
    Rejected,
    Retry,
    Sink,
    TooLarge,
    Unit,
)

__all__ = [
    "Answer",
    "Batch",
    "Context",
    "Hold",
    "Limits",
    "Options",
    "Part",
    "Quota",
    "Rejected",
    "Retry",
    "Sink",
    "TooLarge",
    "Unit",
]
