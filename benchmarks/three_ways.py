"""Three ways from a booking to a dashboard: how users fare, and what the dashboard never gets.

dual write        user ─► application ─► its database ─► API of 250 ms ─► answer
queue and thread  user ─► application ─► its database ─► queue ─► answer;  every 2 s thread ─► API
forebay           user ─► application ─► its database ─► forebay ─► answer;  forebay ─► API

50 bookings a second, whoever is slow. A booking is confirmed when its user has got 200.
"""

import asyncio
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.booking import STREAM
from benchmarks.processes import WAIT, Forebay, Program, forebay, program
from benchmarks.report import Row
from benchmarks.three_ways_report import (
    DOWN,
    KILLED_TOO,
    KILLS,
    PER_SECOND,
    WAYS,
    Findings,
    Outcome,
    markdown,
    rows,
)
from benchmarks.users import Answer, Booking, book, bookings

ROUNDS, PER_ROUND = 3, 200
KILL_BETWEEN = 1.0, 4.0
"""Seconds after the first booking."""
OUTAGE_BOOKINGS, OUTAGE_AFTER = 450, 1.5
QUIET = 3.5
"""Seconds: longer than the thread of the second way sleeps and posts."""
TABLE = Path("docs/performance/three-ways.md")
_HEADING = f"""# Three ways from a booking to a dashboard

Written by `python -m benchmarks three_ways`: {PER_SECOND:g} bookings a second, an API that takes
250 ms, a time-out of 5 s, {KILLS} kills at random moments. The application's own commit, 2 to 5 ms,
is part of each answer. A booking is confirmed when its user has got 200.
"""


@dataclass(frozen=True)
class Application:
    """The booking application with one of the ways, and forebay where it is that way."""

    name: str
    port: int
    pid: int
    database: Path
    daemon: Forebay | None

    def booked(self) -> frozenset[str]:
        """What stands in the application's own database."""
        with sqlite3.connect(self.database) as connection:
            return frozenset(row[0] for row in connection.execute("SELECT id FROM bookings"))

    async def kill_after(self, seconds: float, *, daemon_too: bool) -> None:
        await asyncio.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)
        if daemon_too and self.daemon is not None:
            os.kill(self.daemon.pid, signal.SIGKILL)


async def run() -> list[Row]:
    async with program("analytics", "0.25") as api:
        async with AsyncExitStack() as stack:
            started = [stack.enter_async_context(_application(api, way)) for way in WAYS]
            applications = await asyncio.gather(*started)
            steady, requests = await _steady(api, applications)
            outages = {how: await _outage(api, applications, how) for how in ("hang", "refuse")}
        kills = [await _kill_each(api, number) for number in range(KILLS)]
    found = Findings(
        steady, requests, {name: [kill[name] for kill in kills] for name in kills[0]}, outages
    )
    _keep(markdown(found))
    return rows(found)


def _keep(table: str) -> None:
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(f"{_HEADING}\n{table}", encoding="utf-8")


@asynccontextmanager
async def _application(
    api: Program, name: str, directory: Path | None = None
) -> AsyncIterator[Application]:
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="forebay-bench-") as temporary:
            async with _application(api, name, Path(temporary)) as application:
                yield application
        return
    database, daemon, way, url = directory / "bookings.db", None, name, f"{api.url}/{name}"
    async with AsyncExitStack() as stack:
        if name not in ("dual", "queue"):
            daemon = await stack.enter_async_context(_daemon(api, name, directory))
            way, url = "forebay", f"http://127.0.0.1:{daemon.port}/v1/events/{STREAM}"
        app = await stack.enter_async_context(program("booking_app", way, str(database), url))
        yield Application(name, app.port, app.pid, database, daemon)


def _daemon(api: Program, name: str, directory: Path) -> Any:
    """The defaults, but for what would only make the run longer: the time-out is that of the
    other ways, and an open breaker probes sooner.
    """
    sink = {
        "type": "powerbi",
        "push_url": f"{api.url}/{name}",
        "timeout": "5s",
        "breaker": {"open_for": "2s"},
    }
    return forebay({"analytics": sink}, directory=directory)


# ── what is done to them ─────────────────────────────────────────────────────────────────────


async def _steady(
    api: Program, applications: Sequence[Application]
) -> tuple[dict[str, list[Outcome]], dict[str, int]]:
    """In turns, nothing going wrong. Also how many requests the API had of each."""
    answers: dict[str, list[list[Answer]]] = {one.name: [] for one in applications}
    for number in range(ROUNDS):
        for one in applications:
            wanted = bookings(PER_ROUND, f"steady {one.name} {number}")
            answers[one.name].append(await book(one.port, wanted, PER_SECOND))
    await _settled(api, applications)
    accounts = {one.name: await _account(api, one.name) for one in applications}
    outcomes = {
        one.name: [_outcome(one, found, accounts[one.name]) for found in answers[one.name]]
        for one in applications
    }
    return outcomes, {name: account["requests"] for name, account in accounts.items()}


async def _outage(
    api: Program, applications: Sequence[Application], how: str
) -> dict[str, Outcome]:
    """All at once: what they wait for are time-outs, not the machine."""

    async def begin() -> None:
        await asyncio.sleep(OUTAGE_AFTER)
        await _ask(api, "POST", f"/_/down/{how}/{DOWN}")

    loads = [
        book(one.port, bookings(OUTAGE_BOOKINGS, f"{how} {one.name}"), PER_SECOND)
        for one in applications
    ]
    _, *answers = await asyncio.gather(begin(), *loads)
    await _settled(api, applications)
    return {
        one.name: _outcome(one, found or [], await _account(api, one.name))
        for one, found in zip(applications, answers, strict=True)
    }


async def _kill_each(api: Program, number: int) -> dict[str, Outcome]:
    """Kill each application at the same moment after its first booking."""
    moment = random.Random(f"kill {number}").uniform(*KILL_BETWEEN)  # noqa: S311  repeatable
    names = [*WAYS, KILLED_TOO]
    wanted = [bookings(int((moment + 0.3) * PER_SECOND), f"kill {name} {number}") for name in names]
    outcomes = await asyncio.gather(
        *(_kill(api, name, moment, its) for name, its in zip(names, wanted, strict=True))
    )
    return dict(zip(names, outcomes, strict=True))


async def _kill(api: Program, name: str, moment: float, wanted: Sequence[Booking]) -> Outcome:
    daemon_too = name == KILLED_TOO
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as temporary:
        directory = Path(temporary)
        async with _application(api, name, directory) as one:
            answers, _ = await asyncio.gather(
                book(one.port, wanted, PER_SECOND), one.kill_after(moment, daemon_too=daemon_too)
            )
            if one.daemon is not None and not daemon_too:
                await _delivered(one.daemon)
        if daemon_too:
            async with _daemon(api, name, directory) as again:
                await _delivered(again)
        return _outcome(one, answers, await _account(api, name))


# ── what came of it ──────────────────────────────────────────────────────────────────────────


def _outcome(one: Application, answers: Sequence[Answer], account: Any) -> Outcome:
    wanted = {answer.booking for answer in answers}
    arrived = [booking for booking in account["ids"] if booking in wanted]
    taken = frozenset(arrived)
    return Outcome(tuple(answers), taken, one.booked(), len(arrived) - len(taken))


async def _settled(api: Program, applications: Sequence[Application]) -> None:
    """Wait until forebay has delivered, and nothing more comes from anybody."""
    for one in applications:
        if one.daemon is not None:
            await _delivered(one.daemon)
    before, since = -1, time.monotonic()
    while time.monotonic() < since + QUIET:
        now = sum([(await _account(api, one.name))["requests"] for one in applications])
        if now != before:
            before, since = now, time.monotonic()
        await asyncio.sleep(0.25)


async def _delivered(daemon: Forebay) -> None:
    async with asyncio.timeout(WAIT):
        while await daemon.lag():  # noqa: ASYNC110  it is another process
            await asyncio.sleep(0.1)


async def _account(api: Program, name: str) -> Any:
    return await _ask(api, "GET", f"/_/{name}")


async def _ask(api: Program, method: str, path: str) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, api.url + path) as response,
    ):
        return await response.json()
