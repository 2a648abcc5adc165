"""A file of an older version opens with all that is in it."""

import sqlite3
from importlib import resources

import pytest
from msgspec.structs import astuple

from forebay.buffer import BufferOptions, Durability, Entry, Outcome, Reading, Store
from forebay.buffer.segment import Packer

SCRIPTS = sorted(
    file.name
    for file in resources.files("forebay.buffer.migrations").iterdir()
    if file.name.endswith(".sql")
)


def old_file(options: BufferOptions, version: int) -> None:
    """A log as the first `version` scripts made it: five events, two of them delivered to `s`."""
    database = sqlite3.connect(options.path, isolation_level=None)
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    database.execute("PRAGMA journal_mode = WAL")
    for number, name in enumerate(SCRIPTS[:version], 1):
        script = resources.files("forebay.buffer.migrations").joinpath(name)
        database.executescript(script.read_text(encoding="utf-8"))
        database.execute(f"PRAGMA user_version = {number}")
    payload = b"\n".join(b'{"n":%d}' % n for n in range(5))
    [piece] = Packer().pack(Entry("a", payload, 5))
    database.execute("INSERT INTO log VALUES (1, 'old', 6, 0)")
    database.execute("INSERT INTO streams VALUES (1, 'a', 5, 5)")
    database.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(piece.at(1, 1, 1.0))
    )
    database.execute(
        "INSERT INTO sinks (name, streams, cursor, done, routed, replayed, delivered, "
        "dead_lettered, dropped, expired, quarantined, possible_duplicate, notes) "
        "VALUES ('s', '[\"*\"]', 3, '[]', 5, 0, 2, 0, 0, 0, 0, 0, '{}')"
    )
    database.close()


@pytest.mark.parametrize("version", range(1, len(SCRIPTS) + 1))
async def test_an_older_file_is_brought_up_to_date_with_all_that_is_in_it(
    options: BufferOptions, version: int
) -> None:
    old_file(options, version)
    store = Store(options)
    await store.open()
    try:
        await store.subscribe("s", ("*",), start_now=False)
        assert store.ledger.instance == "old"
        assert store.sink("s").lag == 3
        reading = await store.reader("s").read(100, 10_000)
        assert isinstance(reading, Reading)
        assert b"\n".join(part.payload for part in reading.slices) == b'{"n":2}\n{"n":3}\n{"n":4}'
        store.settle("s", reading.first, reading.last, {Outcome.DELIVERED: 3})
        await store.flush()
        assert (store.sink("s").lag, store.ledger.events) == (0, 0)
    finally:
        await store.close()


async def test_an_old_file_opens_with_a_smaller_max_bytes(options: BufferOptions) -> None:
    old_file(options, len(SCRIPTS))
    smaller = options.model_copy(update={"max_bytes": 1024 * 1024, "durability": Durability.OS})
    store = Store(smaller)
    await store.open()
    assert store.sink("s").lag == 3
    await store.close()
