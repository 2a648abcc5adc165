"""Commits that only append write no counters; a file that was never closed tells them anyway."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from buffer_kit import numbered, opened
from msgspec.structs import replace

from forebay.buffer import BufferOptions, Ledger, Outcome


def counted_to(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT next_seq FROM log").fetchone()[0])


def image(options: BufferOptions, directory: Path) -> BufferOptions:
    """The files as a crash would leave them."""
    directory.mkdir()
    for file in options.path.parent.glob("buffer.db*"):
        shutil.copy(file, directory / file.name)
    return options.model_copy(update={"path": directory / options.path.name})


def told(ledger: Ledger) -> object:
    """What must not depend on how the file was left."""
    sinks = {name: replace(sink, routed_bytes=0) for name, sink in ledger.sinks.items()}
    return ledger.next_seq, ledger.streams, sinks, ledger.oldest_at


@pytest.mark.parametrize("commits", [1, 63, 64, 65, 200])
async def test_a_crash_image_has_the_counters_of_every_commit(
    options: BufferOptions, tmp_path: Path, commits: int
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("some", ("a",), start_now=False)
        for number in range(commits):
            await store.append(numbered("ab"[number % 2], number % 3 + 1))
        left = image(options, tmp_path / "crash")
        assert store.ledger.next_seq - counted_to(left.path) <= 64 * 3
        async with opened(left) as again:
            assert told(again.ledger) == told(store.ledger)


async def test_counters_wait_for_the_next_other_change_and_for_the_end(
    options: BufferOptions, tmp_path: Path
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 5))
        assert counted_to(image(options, tmp_path / "appended").path) == 1
        store.settle("all", 1, 2, {Outcome.DELIVERED: 2})
        await store.flush()
        assert counted_to(image(options, tmp_path / "settled").path) == 6
        await store.append(numbered("s", 5))
    assert counted_to(options.path) == 11


async def test_a_damaged_count_of_an_uncounted_segment_reuses_no_seq(
    options: BufferOptions, tmp_path: Path
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for _ in range(3):
            await store.append(numbered("s", 5))
        left = image(options, tmp_path / "crash")
    with closing(sqlite3.connect(left.path)) as database:
        database.execute("UPDATE segments SET events = 'x' WHERE first_seq = 6")
        database.execute("UPDATE segments SET stream = 99 WHERE first_seq = 11")
        database.commit()
    async with opened(left) as store:
        assert store.sink("all").routed == 10
        assert (await store.append(numbered("s", 1))).first_seq == 16


async def test_a_sink_that_left_behind_a_segment_of_nobody_is_routed_nothing_more(
    options: BufferOptions, tmp_path: Path
) -> None:
    async with opened(options) as store:
        await store.subscribe("some", ("s",), start_now=False)
        await store.append(numbered("s", 5))
        left = image(options, tmp_path / "crash")
    with closing(sqlite3.connect(left.path)) as database:
        database.execute("UPDATE segments SET stream = 99")
        database.commit()
    async with opened(left) as store:
        await store.abandon(())
        await store.subscribe("other", ("*",), start_now=True)
        await store.append(numbered("s", 1))
        again = image(left, tmp_path / "again")
    async with opened(again) as store:
        assert (store.sink("some").routed, store.sink("other").routed) == (0, 1)
