"""Web pages and the admin plane: those that are allowed can read the answers, others cannot ask."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from forebay.daemon.admin.guard import guard
from forebay.daemon.admin.options import AdminOptions

BOARD = "https://board.example"
TOKEN = {"Authorization": "Bearer sesame"}


@pytest.fixture
async def client() -> AsyncIterator[TestClient[web.Request, web.Application]]:
    options = AdminOptions(token=SecretStr("sesame"), allowed_origins=(BOARD,))

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application(middlewares=[guard(options)])
    app.router.add_get("/", hello)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_an_allowed_page_may_read_the_answer(
    client: TestClient[web.Request, web.Application],
):
    answer = await client.get("/", headers=TOKEN | {"Origin": BOARD})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, BOARD)
    assert answer.headers["Vary"] == "Origin"


async def test_an_allowed_page_is_told_before_it_asks_without_a_token(
    client: TestClient[web.Request, web.Application],
):
    asked = {"Origin": BOARD, "Access-Control-Request-Method": "POST"}
    answer = await client.options("/", headers=asked)
    assert (answer.status, answer.headers["Access-Control-Allow-Methods"]) == (204, "GET, POST")
    answer = await client.get("/", headers={"Origin": BOARD})
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_another_page_is_refused_with_and_without_asking_before(
    client: TestClient[web.Request, web.Application],
):
    evil = {"Origin": "https://evil.example"}
    assert (await client.get("/", headers=TOKEN | evil)).status == 403
    preflight = await client.options("/", headers=evil | {"Access-Control-Request-Method": "GET"})
    assert preflight.status == 403
    assert "Access-Control-Allow-Origin" not in preflight.headers


async def test_a_request_without_host_is_refused_but_for_http_1_0(
    client: TestClient[web.Request, web.Application],
):
    for version, status in (("1.1", b" 400 "), ("1.0", b" 200 ")):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        request = (
            f"GET / HTTP/{version}\r\nAuthorization: Bearer sesame\r\nConnection: close\r\n\r\n"
        )
        writer.write(request.encode())
        assert status in await reader.readline()
        writer.close()
        await writer.wait_closed()
