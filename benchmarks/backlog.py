"""Events that wait: putting them in, letting them go, and seeing them all arrive."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from benchmarks.booking import NDJSON, bodies
from benchmarks.load import fill, post
from benchmarks.processes import WAIT, Forebay, Program

SINK = "bench"
PER_BODY = 1000
_LOOK = 0.01

COLUMNS = {
    "Booking": {"from": "booking_id", "type": "String"},
    "Date": {"from": "date", "type": "Datetime"},
    "Session": {"from": "session_id", "type": "String"},
    "User": {"from": "user_id", "type": "String"},
    "Status": {"from": "status", "type": "String"},
}
"""A typed mapping of the booking event."""

_PLENTY = 1_000_000_000


def powerbi_sink(to: Program, **options: Any) -> dict[str, Any]:
    """The table of a Power BI sink with typed columns, its quotas lifted."""
    quotas = ("requests_per_minute", "requests_per_hour_large", "rows_per_hour", "pending")
    return {
        "type": "powerbi",
        "push_url": f"{to.url}/rows",
        "columns": COLUMNS,
        "limits": dict.fromkeys(quotas, _PLENTY),
    } | options


async def put_in(daemon: Forebay, events: int) -> float:
    """Store so many bookings in bodies of 1000; the seconds that it took."""
    began = time.perf_counter()
    requests = [post(body, NDJSON) for body in bodies(PER_BODY)]
    await fill(daemon.port, requests, events // PER_BODY)
    return time.perf_counter() - began


async def pause(daemon: Forebay) -> None:
    """Send nothing to the sink until `resume`."""
    await _ask(daemon, "pause")


async def resume(daemon: Forebay) -> None:
    """Undo `pause`."""
    await _ask(daemon, "resume")


async def _ask(daemon: Forebay, verb: str) -> None:
    url = f"http://127.0.0.1:{daemon.admin}/v1/sinks/{SINK}/{verb}"
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.post(url):
        pass


async def counts(sink: Program) -> dict[str, Any]:
    """What a counting program was sent so far."""
    async with aiohttp.ClientSession() as session, session.get(sink.url) as response:
        return dict(json.loads(await response.read()))


async def arrival(sink: Program, lines: int, seconds: float = WAIT) -> float:
    """Wait until a counting program has so many lines; when that was, by time.perf_counter."""
    async with asyncio.timeout(seconds):
        while (await counts(sink))["lines"] < lines:  # noqa: ASYNC110  another process's count
            await asyncio.sleep(_LOOK)
    return time.perf_counter()


async def delivered(daemon: Forebay, sink: Program, lines: int) -> None:
    """Wait until nothing waits any more. Then each event must have been sent once."""
    async with asyncio.timeout(WAIT):
        while await daemon.lag():  # noqa: ASYNC110  another process's count
            await asyncio.sleep(_LOOK)
    found = (await counts(sink))["lines"]
    assert found == lines, f"{found:,} lines arrived of {lines:,}"


def microseconds(cpu: float, events: int) -> float:
    """CPU seconds of so many events, as microseconds of one."""
    return cpu / events * 1e6


def table(sink: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The sinks of a daemon that has this one."""
    return {SINK: sink}
