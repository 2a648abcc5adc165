import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from benchmarks.collected import collect_then_batch
from benchmarks.programs.analytics import Analytics


class Api:
    def __init__(self, analytics: Analytics, session: aiohttp.ClientSession, port: int) -> None:
        self.analytics = analytics
        self.session = session
        self.url = f"http://127.0.0.1:{port}/sales"

    async def post(self, *rows: bytes) -> int:
        async with self.session.post(self.url, data=b"[%b]" % b",".join(rows)) as answer:
            return answer.status

    async def account(self) -> Any:
        async with self.session.get(self.url.replace("/sales", "/_/sales")) as answer:
            return await answer.json()


@pytest.fixture
async def api(session: aiohttp.ClientSession) -> AsyncIterator[Api]:
    analytics = Analytics(0.0)
    yield Api(analytics, session, await analytics.start())
    await session.close()
    await analytics.stop()


def row(identity: str, status: str = "RESERVED") -> bytes:
    return json.dumps({"booking_id": identity, "status": status}).encode()


async def test_a_row_that_came_twice_is_seen_twice(api: Api):
    assert await api.post(row("a"), row("b")) == 200
    assert await api.post(row("a")) == 200
    account = await api.account()
    assert (account["requests"], account["ids"]) == (2, ["a", "b", "a"])


async def test_nothing_of_a_refused_batch_is_taken(api: Api):
    assert await api.post(row("a"), row("b", "POISON"), row("c")) == 400
    account = await api.account()
    assert (account["requests"], account["refused"], account["ids"]) == (1, 1, [])


async def test_what_hangs_is_never_taken(api: Api):
    await api.analytics.fail("hang")
    hanging = asyncio.create_task(api.post(row("a")))
    while not api.analytics.lost:  # noqa: ASYNC110  the program has no event for it
        await asyncio.sleep(0)
    assert not hanging.done()
    await api.analytics.recover()
    with pytest.raises(aiohttp.ClientError):
        await hanging
    assert await api.post(row("b")) == 200
    assert (await api.account())["ids"] == ["b"]


@pytest.mark.parametrize("connected", [False, True])
async def test_an_api_that_refuses_connections_ends_old_ones_too(api: Api, *, connected: bool):
    if connected:
        await api.post(row("before"))
    await api.analytics.fail("refuse")
    with pytest.raises(aiohttp.ClientError):
        await api.post(row("during"))
    await api.analytics.recover()
    assert await api.post(row("after")) == 200
    assert (await api.account())["ids"] == ["before"] * connected + ["after"]


async def test_an_outage_ends_by_itself(api: Api):
    async with api.session.post(api.url.replace("/sales", "/_/down/refuse/0")) as answer:
        assert answer.status == 200
    await asyncio.gather(*api.analytics.outages)
    assert await api.post(row("a")) == 200


@pytest.mark.parametrize(
    ("bad", "status", "requests"),
    [((), "success", 1), ((1, 3), "partial_success", 5), ((0, 1, 2, 3), "failed", 5)],
)
async def test_the_naive_client_tells_what_failed(
    api: Api, bad: Sequence[int], status: str, requests: int
):
    rows = [row(str(index), "POISON" if index in bad else "RESERVED") for index in range(4)]
    result = await collect_then_batch(api.session, api.url, rows)
    assert (result.failed, result.status) == (tuple(bad), status)
    account = await api.account()
    assert account["requests"] == requests
    assert account["ids"] == [str(index) for index in range(4) if index not in bad]
