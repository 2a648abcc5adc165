"""The machine's clock, by the same rules as the one that tests move by hand."""

import asyncio
from collections.abc import Callable
from math import inf

import pytest
from clock import ManualClock

from forebay.daemon.clock import Clock, SystemClock

clocks = pytest.mark.parametrize("new", [SystemClock, ManualClock])


@clocks
async def test_an_event_that_is_set_ends_a_wait_at_once(new: Callable[[], Clock]):
    event = asyncio.Event()
    event.set()
    assert await new().wait(event, inf)
    assert await new().wait(event, 0)


@clocks
async def test_a_wait_of_no_time_lets_others_run_and_ends(new: Callable[[], Clock]):
    assert not await new().wait(asyncio.Event(), 0)


@clocks
async def test_a_wait_without_end_ends_with_its_event(new: Callable[[], Clock]):
    event = asyncio.Event()
    waiting = asyncio.create_task(new().wait(event, inf))
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    assert await waiting


@clocks
async def test_a_wait_that_is_cancelled_is_not_taken_for_one_that_is_over(
    new: Callable[[], Clock],
):
    waiting = asyncio.create_task(new().wait(asyncio.Event(), inf))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_only_waits_that_are_due_end_when_a_test_moves_its_clock():
    clock = ManualClock()
    early = asyncio.create_task(clock.wait(asyncio.Event(), 5))
    late = asyncio.create_task(clock.wait(asyncio.Event(), 6))
    await asyncio.sleep(0)
    assert clock.next() == clock.now + 5
    clock.advance(clock.now + 5)
    assert not await early
    assert not late.done()
    late.cancel()
