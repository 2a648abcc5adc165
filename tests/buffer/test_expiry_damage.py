"""A segment of no known stream is not looked for again and again because it is old."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from buffer_kit import WallClock, numbered, opened

from forebay.buffer import BufferOptions


@pytest.mark.parametrize("others", [0, 1])
async def test_an_old_segment_of_nobody_lets_the_writer_rest(
    options: BufferOptions, others: int
) -> None:
    wall = WallClock()
    async with opened(options, wall=wall) as store:
        await store.subscribe("some", ("s",), start_now=False)
        await store.append(numbered("s", 5))
        for _ in range(others):
            await store.append(numbered("s", 2))
    with closing(sqlite3.connect(options.path)) as database:
        database.execute("UPDATE segments SET stream = 99 WHERE first_seq = 1")
        database.commit()
    wall.now += 3600
    aged = BufferOptions(**options.model_dump() | {"max_age": "1m"})
    async with opened(aged, wall=wall) as store, asyncio.timeout(20):
        await store.tidy()
        assert store.sink("some").expired == 2 * others
