"""The disk refuses: nothing is acknowledged, nothing asked is forgotten, and it mends itself."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from buffer_kit import block, drain, numbered, opened, other_connection, rows, until

from forebay.buffer import BufferFull, BufferOptions, BufferUnavailable, Damage, Outcome, Store
from forebay.buffer.transaction import Transaction


async def refused(store: Store) -> BufferUnavailable:
    with pytest.raises(BufferUnavailable) as caught:
        await store.append(numbered("s", 1))
    return caught.value


async def test_a_foreign_lock_is_answered_and_gone_when_it_goes(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 10))
        with other_connection(options.path) as owner:
            owner.execute("BEGIN IMMEDIATE")
            assert "locked" in str(await refused(store))
            assert "locked" in str(store.fault)
            assert "locked" in str(await refused(store)), "and at once the next time"
            for first, last in ((1, 4), (1, 4), (8, 9)):
                store.settle("all", first, last, {Outcome.DELIVERED: last - first + 1})
            noted = asyncio.ensure_future(store.subscribe("late", ("*",), start_now=False))
            assert len(await drain(store, "all")) == 10, "reading goes on"
            assert store.sink("all").delivered == 0, "only what is on disk counts"
            owner.execute("ROLLBACK")
        await noted
        assert store.fault is None
        assert (store.sink("all").delivered, store.sink("all").lag) == (6, 4)
        assert store.sink("late").lag == 10
        assert (await store.append(numbered("s", 1))).first_seq == 11
        assert [event.seq for event in await drain(store, "all")] == [5, 6, 7, 10, 11]
    assert rows(options.path, "SELECT delivered FROM sinks WHERE name = 'all'") == [(6,)]


async def test_a_lock_during_maintenance_alone_mends_itself_too(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 10))
        with other_connection(options.path) as owner:
            owner.execute("BEGIN IMMEDIATE")
            store.settle("all", 1, 10, {Outcome.DELIVERED: 10})
            flushed = asyncio.ensure_future(store.flush())
            await refused(store)
            owner.execute("ROLLBACK")
        await flushed
        await store.tidy()
        assert store.fault is None
        assert rows(options.path, "SELECT * FROM segments") == []


async def test_no_room_inside_a_commit_undoes_all_of_it(options: BufferOptions) -> None:
    """The estimate of what an entry needs said yes, and SQLite says no."""

    def no_more_pages(transaction: Transaction) -> None:
        pages = transaction.database.execute("PRAGMA page_count").fetchone()[0]
        transaction.database.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 5))
        await store._call(no_more_pages)
        store.settle("all", 1, 2, {Outcome.DELIVERED: 2})
        futures = [store.append(numbered("s", 1)), store.append(block(1, 900_000))]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert all(isinstance(result, (BufferFull, BufferUnavailable)) for result in results)
        await until(store, lambda: store.fault is None)
        assert (store.sink("all").delivered, store.sink("all").lag) == (2, 3)
        assert store.ledger.next_seq == 6
        assert (await store.append(block(1, 900_000))).first_seq == 6
        assert len(await drain(store, "all")) == 4


LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from forebay.buffer import BufferOptions, BufferUnavailable, Entry, Outcome, Store

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main(path):
    store = Store(BufferOptions(path=path))
    await store.open()
    await store.subscribe("all", ("*",), start_now=False)
    stored = []
    limit(150_000)
    for number in range(1000):
        try:
            payload = b'{"n": "%s"}' % (str(number) * 3000).encode()
            receipt = await store.append(Entry("s", payload, 1))
        except BufferUnavailable as error:
            print("refused", store.fault is not None, "disk" in str(error))
            break
        stored.append(receipt.first_seq)
    store.settle("all", 1, stored[-2], {Outcome.DELIVERED: stored[-2]})
    limit(resource.RLIM_INFINITY)
    await store.tidy()
    print("mended", store.fault, store.sink("all").lag, store.ledger.next_seq - stored[-1])
    receipt = await store.append(Entry("s", b"{}", 1))
    print("stored", receipt.first_seq - stored[-1])
    await store.close()
    store = Store(BufferOptions(path=path))
    await store.open()
    print("reopened", store.sink("all").lag)
    await store.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_disk_that_refuses_writes_and_then_takes_them_again(options: BufferOptions) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(options.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "refused True True",
        "mended None 1 1",
        "stored 1",
        "reopened 2",
    ]


# ── the end ──────────────────────────────────────────────────────────────────────────────────


async def test_closing_writes_what_was_asked(options: BufferOptions) -> None:
    store = Store(options)
    await store.open()
    await store.subscribe("all", ("*",), start_now=False)
    futures = [store.append(numbered("s", 1, start=number)) for number in range(20)]
    store.settle("all", 1, 5, {Outcome.DELIVERED: 5})
    await store.close()
    assert [(await future).first_seq for future in futures] == list(range(1, 21))
    async with opened(options) as store:
        assert (store.sink("all").delivered, store.sink("all").lag) == (5, 15)


async def test_what_is_asked_while_closing_or_later_is_refused(options: BufferOptions) -> None:
    store = Store(options)
    await store.open()
    await store.subscribe("all", ("*",), start_now=False)
    await store.append(numbered("s", 1))
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    for _ in "12":
        assert "closing" in str(await refused(store))
        with pytest.raises(BufferUnavailable, match="closing"):
            await store.flush()
        with pytest.raises(BufferUnavailable, match="closing"):
            await store.quarantine(Damage(1, "a test"))
        store.settle("all", 1, 1, {Outcome.DELIVERED: 1})
        await closing
    assert store.fault == "the buffer is closing"
    async with opened(options) as store:
        assert store.sink("all").lag == 1, "what was refused is not done"


async def test_what_could_not_be_written_before_the_end_is_told(options: BufferOptions) -> None:
    store = Store(options)
    await store.open()
    await store.subscribe("all", ("*",), start_now=False)
    with other_connection(options.path) as owner:
        owner.execute("BEGIN IMMEDIATE")
        await refused(store)
        noted = asyncio.ensure_future(store.flush())
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(BufferUnavailable, match="closing"):
            await noted
        owner.execute("ROLLBACK")
    async with opened(options) as store:
        await store.flush()


async def test_a_store_that_never_opened_refuses(options: BufferOptions) -> None:
    store = Store(options)
    with pytest.raises(BufferUnavailable, match="not open"):
        store.append(numbered("s", 1))


async def test_a_failed_open_leaves_nothing_behind(options: BufferOptions) -> None:
    options.path.write_bytes(b"no database" * 1000)
    for _ in "12":
        with pytest.raises(BufferUnavailable, match="not a database"):
            await Store(options).open()
    options.path.unlink()
    async with opened(options) as store:
        await store.flush()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_fault_of_ours_in_the_writer_leaves_nobody_waiting(options: BufferOptions) -> None:
    def broken(transaction: Transaction) -> None:
        raise KeyError("a fault of ours")

    store = Store(options)
    await store.open()
    await store.append(numbered("s", 1))
    asked = asyncio.ensure_future(store._call(broken))
    await asyncio.sleep(0)  # it is in line, and what follows in this turn is handed on with it
    together = [store.append(numbered("s", 1)), asked]
    results = await asyncio.gather(*together, return_exceptions=True)
    assert [type(result) for result in results] == [BufferUnavailable, BufferUnavailable]
    with pytest.raises(KeyError):
        await store.crashed
    assert "writer has failed" in str(await refused(store))
    with pytest.raises(BufferUnavailable, match="writer has failed"):
        await store.flush()
    await store.close()
    async with opened(options) as store:
        assert store.ledger.next_seq == 2, "nothing of the broken commit was stored"


async def test_no_connection_or_thread_is_left_behind(options: BufferOptions) -> None:
    def descriptors() -> int:
        return sum("buffer.db" in str(link.readlink()) for link in _links())

    for _ in range(3):
        async with opened(options) as store:
            await store.append(numbered("s", 1))
            assert descriptors() > 0
        with other_connection(options.path) as owner:
            owner.execute("BEGIN IMMEDIATE")
            with pytest.raises(BufferUnavailable):
                await Store(options).open()
        assert descriptors() == 0


def _links() -> list[Path]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            link.readlink()
            found.append(link)
    return found
