"""Who waits for a commit is told, whatever becomes of the others."""

import asyncio
from typing import Any

from buffer_kit import entry, numbered, opened

from forebay.buffer import BufferOptions, Receipt, SinkState
from forebay.buffer.ledger import Changes
from forebay.buffer.writer import Commit


async def test_who_waits_behind_somebody_that_fails_is_told(options: BufferOptions) -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    told: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def fails(_: object) -> None:
        raise RuntimeError("the client's fault")

    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        store.submit(entry("s", b"{}"), fails)
        store.submit(entry("s", b"{}"), told.set_result)
        assert await told == Receipt(1, first_seq=2, last_seq=2)
        assert store.sink("all").lag == 2
    assert [str(fault["exception"]) for fault in faults] == ["the client's fault"]


async def test_a_sink_forgotten_while_the_file_was_opened_again_hides_nobody(
    options: BufferOptions,
) -> None:
    heard: list[SinkState] = []
    async with opened(options) as store:
        for name in ("gone", "here"):
            await store.subscribe(name, ("*",), start_now=False)
            store.watch(name, heard.append)
        await store.append(numbered("s", 3))
        heard.clear()
        store._publish(Commit(reloaded=store.ledger, changes=Changes(sinks={"gone": None})))
        assert heard == [store.sink("here")]


async def test_who_looks_away_hears_nothing_more(options: BufferOptions) -> None:
    heard: list[SinkState] = []
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        store.watch("all", heard.append)
        store.unwatch("all")
        store.unwatch("nobody")
        await store.append(numbered("s", 3))
    assert heard == []
