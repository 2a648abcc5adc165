"""What is done with gives its space back; what does not fit is refused and costs nothing else."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from buffer_kit import block, drain, line, numbered, opened, other_connection, read, rest, rows

from forebay.buffer import (
    BufferFull,
    BufferOptions,
    Damage,
    Outcome,
    Receipt,
    Store,
    WhenFull,
)
from forebay.buffer.database import PAGE_SIZE, file_pages, free_pages
from forebay.buffer.retention import VACUUM_PAGES, vacuum

MIB = 1024 * 1024
KEPT = 600 * PAGE_SIZE
"""Free pages that the log keeps for the next events, and what an empty one has, at most."""


@pytest.fixture
def small(options: BufferOptions) -> BufferOptions:
    return options.model_copy(update={"max_bytes": MIB})


async def settle_all(store: Store, sink: str = "all") -> None:
    last, lag = store.ledger.next_seq - 1, store.sink(sink).lag
    store.settle(sink, store.sink(sink).cursor.position, last, {Outcome.DELIVERED: lag})
    await store.tidy()


async def fill(store: Store, *, start: int = 0) -> int:
    """Append until the buffer is full; how many fitted."""
    for number in range(1000):
        try:
            await store.append(block(start + number))
        except BufferFull:
            return number
    raise AssertionError("the buffer never filled up")


async def test_a_drained_file_shrinks(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await asyncio.gather(*(store.append(block(n)) for n in range(100)))
        await store.tidy()
        assert options.path.stat().st_size > 4 * MIB
        assert store.ledger.used_bytes > 4 * MIB
        await settle_all(store)
        assert rows(options.path, "SELECT * FROM segments") == []
        assert options.path.stat().st_size <= KEPT
        assert store.ledger.used_bytes <= 50 * PAGE_SIZE
        assert store.ledger.oldest_at == 0
        assert store.ledger.events == 0


async def test_a_slow_sink_keeps_only_what_it_still_needs(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("slow", ("*",), start_now=False)
        for number in range(10):
            await store.append(numbered("s", 10, start=number))
        await settle_all(store)
        assert len(rows(options.path, "SELECT * FROM segments")) == 10
        store.settle("slow", 1, 55, {Outcome.DELIVERED: 55})
        await store.tidy()
        assert rows(options.path, "SELECT min(first_seq), count(*) FROM segments") == [(51, 5)]
        assert len(await drain(store, "slow")) == 45


async def test_a_sink_without_events_does_not_keep_those_of_others(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("rare", ("rare",), start_now=False)
        await store.append(numbered("s", 10))
        await settle_all(store)
        assert rows(options.path, "SELECT * FROM segments") == []
        await store.append(numbered("rare", 2))
        assert [event.seq for event in await drain(store, "rare")] == [11, 12]


async def test_used_bytes_are_the_pages_in_use(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for step in range(3):
            await store.append(block(step, 300_000))
            pages = (
                rows(options.path, "SELECT count(*) FROM pragma_page_count, dbstat")[0][0]
                if (_has_dbstat())
                else None
            )
            free = rows(options.path, "PRAGMA freelist_count")[0][0]
            total = rows(options.path, "PRAGMA page_count")[0][0]
            above = store.ledger.used_bytes - (total - free) * PAGE_SIZE
            assert 0 <= above <= 2 * PAGE_SIZE * (step + 1), "an estimate until it is counted"
            assert pages is None or pages <= total - free
        await settle_all(store)
        free, total = (
            rows(options.path, f"PRAGMA {name}_count")[0][0] for name in ("freelist", "page")
        )
        used = store.ledger.used_bytes
        assert used == (total - free) * PAGE_SIZE
    async with opened(options) as store:
        assert store.ledger.used_bytes == used


def _has_dbstat() -> bool:
    with sqlite3.connect(":memory:") as database:
        options = {name for (name,) in database.execute("PRAGMA compile_options")}
    return "ENABLE_DBSTAT_VTAB" in options


async def test_a_full_buffer_refuses_and_has_room_again_once_it_is_drained(
    small: BufferOptions,
) -> None:
    async with opened(small) as store:
        await store.subscribe("all", ("*",), start_now=False)
        first = await fill(store)
        assert first >= 8
        assert store.fault is None, "a full buffer is no fault"
        assert store.ledger.used_bytes <= small.max_bytes
        assert store.sink("all").lag == first
        for again in range(3):
            await settle_all(store)
            assert await fill(store, start=1000 * again) >= first - 1
            assert store.ledger.used_bytes <= small.max_bytes


async def test_what_is_small_still_fits_beside_what_is_too_large(small: BufferOptions) -> None:
    async with opened(small) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await fill(store)
        results = await asyncio.gather(
            store.append(numbered("s", 2)),
            store.append(block(7)),
            store.append(numbered("s", 3)),
            return_exceptions=True,
        )
        assert isinstance(results[1], BufferFull)
        accepted = [result.accepted for result in results if isinstance(result, Receipt)]
        assert accepted == [2, 3]


async def test_an_entry_larger_than_the_buffer_is_refused_and_the_next_one_fits(
    small: BufferOptions,
) -> None:
    async with opened(small) as store:
        with pytest.raises(BufferFull, match=r"max_bytes"):
            await store.append(block(1, 3 * MIB))
        assert (await store.append(block(2))).first_seq == 1
        assert store.fault is None


async def test_a_full_buffer_of_small_events_can_be_settled_piece_by_piece(
    small: BufferOptions,
) -> None:
    """Cursors and done ranges need space of their own when events have taken all of theirs."""
    async with opened(small) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await fill(store)
        while True:
            try:
                await store.append(numbered("s", 10, start=1))
            except BufferFull:
                break
        end = store.ledger.next_seq
        for seq in range(2, end, 2):
            store.settle("all", seq, seq, {Outcome.DELIVERED: 1})
        await store.flush()
        assert store.fault is None
        assert store.sink("all").lag == len(await drain(store, "all")) == end // 2
        await settle_all(store)
        assert store.sink("all").lag == 0


async def test_a_file_that_was_allowed_more_before_can_still_be_drained(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for number in range(420):
            await store.append(block(number))
    lowered = options.model_copy(update={"max_bytes": MIB})
    async with opened(lowered) as store:
        with pytest.raises(BufferFull):
            await store.append(numbered("s", 1))
        store.note("all", '{"note": "%s"}' % ("n" * 200_000))
        for seq in range(2, 420, 2):
            store.settle("all", seq, seq, {Outcome.DELIVERED: 1})
        await store.flush()
        assert store.fault is None
        await settle_all(store)
        assert lowered.path.stat().st_size <= KEPT
        assert (await store.append(numbered("s", 1))).first_seq == 421


async def test_a_full_buffer_can_set_a_segment_aside(small: BufferOptions) -> None:
    async with opened(small) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(block(1, 900_000))
        await store.quarantine(Damage(1, "a test"))
        assert store.fault is None
        assert rows(small.path, "SELECT first_seq, events FROM quarantine") == [(1, 1)]
        assert (store.sink("all").quarantined, store.sink("all").lag) == (1, 0)


async def test_drop_oldest_keeps_what_is_new_and_counts_what_went(small: BufferOptions) -> None:
    options = small.model_copy(update={"when_full": WhenFull.DROP_OLDEST})
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("other", ("other",), start_now=False)
        for number in range(50):
            assert (await store.append(block(number))).accepted == 1
        sink, left = store.sink("all"), await drain(store, "all")
        assert store.ledger.used_bytes <= options.max_bytes
        assert left[-1].data == line(49, 100_000)
        assert [event.seq for event in left] == list(range(51 - len(left), 51))
        assert (sink.routed, sink.dropped, sink.lag) == (50, 50 - len(left), len(left))
        assert store.sink("other").dropped == 0


async def test_drop_newest_answers_and_counts_what_did_not_fit(small: BufferOptions) -> None:
    options = small.model_copy(update={"when_full": WhenFull.DROP_NEWEST})
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        receipts = [await store.append(block(number)) for number in range(50)]
        accepted = sum(receipt.accepted for receipt in receipts)
        sink = store.sink("all")
        assert accepted + sum(receipt.dropped for receipt in receipts) == 50
        assert (sink.routed, sink.dropped, sink.lag) == (50, 50 - accepted, accepted)
        assert len(await drain(store, "all")) == accepted
        assert receipts[-1] == Receipt(0, dropped=1)


async def test_a_held_snapshot_lets_the_log_go_on_and_the_wal_shrinks_after_it(
    options: BufferOptions,
) -> None:
    wal = options.path.with_name("buffer.db-wal")
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(block(0))
        with other_connection(options.path) as pin:
            pin.execute("BEGIN")
            pin.execute("SELECT count(*) FROM segments").fetchall()
            for number in range(200):
                await store.append(block(number))
            await settle_all(store)
            assert wal.stat().st_size > 10 * MIB, "the reader pins it"
            assert pin.execute("SELECT count(*) FROM segments").fetchall() == [(1,)]
            pin.execute("COMMIT")
        await store.append(block(1))
        for number in range(20):  # the next checkpoint empties the WAL, the next round cuts it
            await store.append(block(number))
            await store.tidy()
        assert wal.stat().st_size <= 9 * MIB


async def test_the_last_event_of_a_burst_is_read_without_another_one(
    options: BufferOptions,
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        reader = store.reader("all")
        await asyncio.gather(*(store.append(numbered("s", 3, start=n)) for n in range(100)))
        assert len(await rest(reader)) == 300
        assert (await read(reader)).slices == ()


def test_one_bite_of_vacuum_gives_back_as_many_pages_as_it_says(tmp_path: Path) -> None:
    """The pragma frees one page a step, and most ways to run a statement take one step."""
    with other_connection(tmp_path / "file.db") as database:
        for pragma in (f"page_size = {PAGE_SIZE}", "auto_vacuum = INCREMENTAL"):
            database.execute(f"PRAGMA {pragma}").fetchall()
        database.execute("CREATE TABLE t AS SELECT zeroblob(600 * 4096)")
        database.execute("DROP TABLE t")
        free = free_pages(database)
        assert free > 590
        assert vacuum(database, waiting=False) == VACUUM_PAGES
        rest = list(iter(lambda: vacuum(database, waiting=False), 0))
        assert sum(rest) == free - VACUUM_PAGES - 256
        assert free_pages(database) == 256


def test_vacuum_moves_no_events_that_wait_while_half_of_the_file_is_in_use(tmp_path: Path) -> None:
    with other_connection(tmp_path / "file.db") as database:
        for pragma in (f"page_size = {PAGE_SIZE}", "auto_vacuum = INCREMENTAL"):
            database.execute(f"PRAGMA {pragma}").fetchall()
        for name, pages in (("done", 1000), ("waiting", 1000)):
            database.execute(f"CREATE TABLE {name} AS SELECT zeroblob({pages} * 4096)")
        database.execute("DROP TABLE done")
        assert file_pages(database) // 2 > 1000
        assert vacuum(database, waiting=True) == 0
        assert vacuum(database, waiting=False) == VACUUM_PAGES
