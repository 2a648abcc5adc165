"""The log: one SQLite file in which events wait until every sink is done with them."""

from forebay.buffer.database import wal_reset_safe
from forebay.buffer.dead_letters import DeadLetter, Progress, Selection
from forebay.buffer.entry import Entry, Receipt
from forebay.buffer.errors import (
    BufferDamaged,
    BufferFault,
    BufferFull,
    BufferInUse,
    BufferTooNew,
    BufferUnavailable,
)
from forebay.buffer.ledger import Ledger, Outcome, SinkState
from forebay.buffer.options import BufferOptions, Durability, WhenFull
from forebay.buffer.reader import Damage, LogReader, Reading
from forebay.buffer.segment import Slice
from forebay.buffer.store import CommitStats, Store

__all__ = [
    "BufferDamaged",
    "BufferFault",
    "BufferFull",
    "BufferInUse",
    "BufferOptions",
    "BufferTooNew",
    "BufferUnavailable",
    "CommitStats",
    "Damage",
    "DeadLetter",
    "Durability",
    "Entry",
    "Ledger",
    "LogReader",
    "Outcome",
    "Progress",
    "Reading",
    "Receipt",
    "Selection",
    "SinkState",
    "Slice",
    "Store",
    "WhenFull",
    "wal_reset_safe",
]
