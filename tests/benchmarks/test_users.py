import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from benchmarks.users import book, bookings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def serve(handler: Handler) -> int:
        app = web.Application()
        app.router.add_post("/bookings", handler)
        runners.append(web.AppRunner(app))
        await runners[-1].setup()
        await web.TCPSite(runners[-1], "127.0.0.1", 0).start()
        port: int = runners[-1].addresses[0][1]
        return port

    yield serve
    await asyncio.gather(*(runner.cleanup() for runner in runners))


async def test_nobody_waits_for_the_answers_of_others(serve: Serve):
    arrived: list[str] = []
    all_there = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        arrived.append((await request.json())["booking_id"])
        if len(arrived) == 30:
            all_there.set()
        await all_there.wait()
        return web.Response()

    wanted = bookings(30, "seed")
    answers = await book(await serve(handler), wanted, 10_000)
    assert [answer.status for answer in answers] == [200] * 30
    assert [answer.booking for answer in answers] == [one.id for one in wanted]
    assert sorted(arrived) == sorted(one.id for one in wanted)


async def test_a_broken_connection_confirms_nothing_and_is_not_used_again(serve: Serve):
    seen = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal seen
        seen += 1
        if seen == 2:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=503 if seen == 3 else 200)

    answers = await book(await serve(handler), bookings(4, "seed"), 20)
    assert sorted(answer.status for answer in answers) == [0, 200, 200, 503]


async def test_a_server_that_is_gone_confirms_nothing():
    answers = await book(1, bookings(3, "seed"), 10_000)
    assert [answer.status for answer in answers] == [0, 0, 0]


def test_a_seed_names_the_same_bookings_again():
    assert bookings(3, "a") == bookings(3, "a")
    assert not {one.id for one in bookings(3, "a")} & {one.id for one in bookings(3, "b")}
