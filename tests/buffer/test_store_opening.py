"""Opening: who may, what is refused and how it is said, and that it does not take longer with
what waits.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from buffer_kit import entry, numbered, opened, other_connection, read, rows

from forebay.buffer import (
    BufferFault,
    BufferInUse,
    BufferOptions,
    BufferTooNew,
    BufferUnavailable,
    Outcome,
    Store,
)
from forebay.buffer.database import wal_reset_safe


async def refusal_of(options: BufferOptions) -> BufferFault:
    with pytest.raises(BufferFault) as caught:
        await Store(options).open()
    return caught.value


async def test_a_second_daemon_is_told_who_has_the_file(options: BufferOptions) -> None:
    async with opened(options) as store:
        error = await refusal_of(options)
        assert isinstance(error, BufferInUse)
        assert f"process {os.getpid()}" in str(error)
        assert (await store.append(numbered("s", 1))).first_seq == 1
        assert isinstance(await refusal_of(options), BufferInUse), "asking did not free it"
    async with opened(options) as store:
        assert store.ledger.next_seq == 2


async def test_the_lock_of_a_killed_process_is_free(options: BufferOptions) -> None:
    options.path.with_name("buffer.db.lock").write_text("4194304\n")
    async with opened(options) as store:
        await store.flush()


async def test_a_newer_file_is_left_alone(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.append(numbered("s", 1))
    with other_connection(options.path) as database:
        database.execute("PRAGMA user_version = 99")
    before = options.path.read_bytes()
    error = await refusal_of(options)
    assert isinstance(error, BufferTooNew)
    assert "99" in str(error)
    assert options.path.read_bytes() == before


@pytest.mark.parametrize("content", [b"this is not a database\n" * 500, bytes(10_000)])
async def test_what_is_no_database_is_named_and_not_touched(
    options: BufferOptions, content: bytes
) -> None:
    options.path.write_bytes(content)
    error = await refusal_of(options)
    assert str(options.path) in str(error)
    assert "not a database" in str(error)
    assert options.path.read_bytes() == content
    assert [file.name for file in sorted(options.path.parent.iterdir())] == [
        "buffer.db",
        "buffer.db.lock",
    ]


async def test_a_damaged_counter_row_is_a_fault_and_not_a_crash(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
    with other_connection(options.path) as database:
        database.execute("UPDATE sinks SET done = '[[1'")
    assert "all" in str(await refusal_of(options))


async def test_a_path_that_is_a_directory_is_refused(options: BufferOptions) -> None:
    options.path.mkdir()
    error = await refusal_of(options)
    assert isinstance(error, BufferUnavailable)
    assert str(options.path) in str(error)


async def test_a_path_below_a_file_is_refused(options: BufferOptions) -> None:
    options.path.write_text("")
    below = options.model_copy(update={"path": options.path / "deeper" / "buffer.db"})
    error = await refusal_of(below)
    assert isinstance(error, BufferUnavailable)
    assert "buffer.path" in str(error)


READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from forebay.buffer import BufferOptions, BufferUnavailable, Store
if os.geteuid() == 0:  # root may write everywhere
    os.setuid(65534)
try:
    asyncio.run(Store(BufferOptions(path=Path(sys.argv[1]) / "buffer.db")).open())
except BufferUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("file_exists", [False, True])
def test_a_read_only_directory_is_refused(file_exists: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # not below tmp_path, which others may not enter
        folder = Path(name)
        if file_exists:
            (folder / "buffer.db").touch(mode=0o666)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, name],
            capture_output=True,
            text=True,
            check=False,
            env={},  # nobody could write what a coverage tool asks for here
        )
        folder.chmod(0o755)
    assert done.stderr == ""
    assert name in done.stdout
    assert "Permission denied" in done.stdout


async def test_a_file_somebody_else_has_locked_can_be_opened_later(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.append(numbered("s", 1))
    store = Store(options)
    with other_connection(options.path) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(BufferUnavailable, match="locked"):
            await store.open()
        database.execute("ROLLBACK")
    await store.open()
    assert store.ledger.next_seq == 2
    await store.close()


async def test_nobody_else_may_read_the_file(options: BufferOptions) -> None:
    private = options.model_copy(update={"path": options.path.parent / "state" / "buffer.db"})
    async with opened(private) as store:
        await store.append(numbered("s", 1))
        assert private.path.parent.stat().st_mode & 0o777 == 0o700
        for file in private.path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file.name


async def test_the_file_is_set_up_as_the_design_says(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.append(numbered("s", 1))
        assert rows(options.path, "PRAGMA journal_mode") == [("wal",)]
        assert rows(options.path, "PRAGMA auto_vacuum") == [(2,)]
        found: list[Any] = []

        def look(pragma: str) -> None:
            database = store._writer._database
            assert database is not None
            found.extend(database.execute(f"PRAGMA {pragma}").fetchone())

        await store._call(lambda _: look("synchronous"))
        await store._call(lambda _: look("wal_autocheckpoint"))
        assert found == [1, 0]


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True), ((3, 45, 0), False),
        ((3, 50, 6), False), ((3, 50, 7), True), ((3, 51, 2), False), ((3, 51, 3), True),
        ((3, 52, 0), True),
    ],
)  # fmt: skip
def test_versions_with_the_wal_reset_race_are_known(
    version: tuple[int, int, int], safe: bool
) -> None:
    assert wal_reset_safe(version) is safe


# ── nothing is scanned ───────────────────────────────────────────────────────────────────────


class Meter:
    """Counts the virtual machine steps of every connection that is opened while it runs."""

    steps = 0

    def __call__(self) -> int:
        self.steps += 1
        return 0


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    counter, connect = Meter(), sqlite3.connect

    def metered(*arguments: Any, **named: Any) -> sqlite3.Connection:
        database = connect(*arguments, **named)
        database.set_progress_handler(counter, 1)
        return database

    monkeypatch.setattr(sqlite3, "connect", metered)
    return counter


async def steps_with(options: BufferOptions, meter: Meter, segments: int) -> dict[str, int]:
    """Steps of each kind of work on a log of so many segments."""
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for number in range(0, segments, 100):
            for stream in range(100):
                store.append(entry(f"stream{stream}", b'{"n":%d}' % number))
            await store.flush()
        assert len(rows(options.path, "SELECT * FROM segments")) == segments
    found, before = {}, meter.steps

    def measured(work: str) -> None:
        nonlocal before
        found[work], before = meter.steps - before, meter.steps

    store = Store(options)
    await store.open()
    await store.tidy()
    measured("open")
    await store.append(entry("stream1", b"{}"))
    measured("append")
    await read(store.reader("all"), 1)  # looks at 2048 headers at most
    measured("read")
    store.settle("all", 1, 1, {Outcome.DELIVERED: 1})
    await store.tidy()
    measured("settle and trim")
    assert store.sink("all").lag == store.ledger.events == segments
    await store.subscribe("all", ("*",), start_now=False)
    await store.subscribe("new", ("*",), start_now=True)
    measured("subscribe")
    await store.close()
    return found


async def test_no_work_grows_with_what_waits(
    options: BufferOptions, tmp_path: Path, meter: Meter
) -> None:
    few = await steps_with(options, meter, 2100)
    other = options.model_copy(update={"path": tmp_path / "large.db"})
    many = await steps_with(other, meter, 4200)
    assert all(steps > 20 for steps in few.values())
    for work, steps in many.items():
        assert steps < 1.3 * few[work] + 100, (work, steps, few[work])
