import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from benchmarks.programs.booking_app import (
    WAYS,
    Database,
    QueueAndThread,
    Way,
    application,
)

EVENT = {"booking_id": "b-1", "status": "RESERVED"}


@dataclass
class Other:
    """The other side: keeps what it was sent, and answers `status`."""

    url: str = ""
    status: int = 200
    bodies: list[object] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("Idempotency-Key"))
        self.bodies.append(await request.json())
        return web.json_response({}, status=self.status)


async def serve(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture
async def other() -> AsyncIterator[Other]:
    it = Other()
    app = web.Application()
    app.router.add_post("/rows", it.take)
    runner, url = await serve(app)
    it.url = f"{url}/rows"
    yield it
    await runner.cleanup()


async def book(session: aiohttp.ClientSession, way: Way, file: Path) -> tuple[int, list[str]]:
    """The user's answer, and what stands in the application's database then."""
    database = Database(file)
    runner, url = await serve(application(way, database))
    async with session.post(f"{url}/bookings", json=EVENT) as answer:
        status = answer.status
    with sqlite3.connect(file) as connection:
        booked = [row[0] for row in connection.execute("SELECT id FROM bookings")]
    connection.close()
    await runner.cleanup()
    database.close()
    return status, booked


@pytest.mark.parametrize(("status", "told"), [(200, 200), (503, 200)])
async def test_the_dual_write_confirms_whatever_the_dashboard_says(
    session: aiohttp.ClientSession, other: Other, tmp_path: Path, status: int, told: int
):
    other.status = status
    way = WAYS["dual"](other.url)
    assert await book(session, way, tmp_path / "bookings.db") == (told, ["b-1"])
    assert other.bodies == [[EVENT]]


@pytest.mark.parametrize(("status", "told"), [(200, 200), (429, 503), (503, 503)])
async def test_forebay_is_asked_before_a_booking_is_confirmed(
    session: aiohttp.ClientSession, other: Other, tmp_path: Path, status: int, told: int
):
    other.status = status
    way = WAYS["forebay"](other.url)
    assert await book(session, way, tmp_path / "bookings.db") == (told, ["b-1"])
    assert (other.bodies, other.keys) == ([EVENT], ["b-1"])


@pytest.mark.parametrize(("name", "told"), [("dual", 200), ("forebay", 503)])
async def test_nobody_at_the_other_side_is_no_crash(
    session: aiohttp.ClientSession, tmp_path: Path, name: str, told: int
):
    way = WAYS[name]("http://127.0.0.1:1/rows")
    assert await book(session, way, tmp_path / "bookings.db") == (told, ["b-1"])


async def test_the_thread_posts_all_that_waits_in_one_request(other: Other):
    way = QueueAndThread(other.url)
    for number in range(3):
        assert await way.hand_on(str(number), json.dumps(number).encode())
    await asyncio.to_thread(way.drain)
    await asyncio.to_thread(way.drain)
    assert other.bodies == [[0, 1, 2]]


@pytest.mark.parametrize("refused", [False, True])
async def test_a_failed_post_of_the_thread_is_gone_as_in_the_original(
    other: Other, *, refused: bool
):
    other.status = 503
    way = QueueAndThread("http://127.0.0.1:1/rows" if refused else other.url)
    await way.hand_on("1", b"1")
    await asyncio.to_thread(way.drain)
    other.status, other.bodies, way.url = 200, [], other.url
    await asyncio.to_thread(way.drain)
    assert other.bodies == []
