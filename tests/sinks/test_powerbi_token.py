import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from sink_helpers import (
    CLIENT_SECRET,
    HANG,
    RESET,
    Clock,
    Request,
    batch,
    by_id,
    closed_port,
    opened,
    reply,
    scripted,
    token,
)

from forebay.sinks import Context, Hold, Retry
from forebay.sinks._http import HttpClient, HttpOptions
from forebay.sinks._masking import Masker
from forebay.sinks.powerbi.options import Auth
from forebay.sinks.powerbi.token import Tokens


async def test_many_sends_fetch_one_token(context: Context):
    async with (
        scripted(token()) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        sends = (sink.send(batch({"n": n}, first=n)) for n in range(1, 21))
        await asyncio.gather(*sends)
    assert (len(entra.requests), len(api.requests)) == (1, 20)


async def test_many_refusals_fetch_one_more_token(context: Context):
    def judge(request: Request) -> bytes:
        return reply(401 if request.headers["authorization"] == "Bearer t-one-x" else 200)

    async with (
        scripted(token("t-one-x"), token("t-two-x")) as entra,
        scripted(judge) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        await asyncio.gather(*(sink.send(batch({}, first=n)) for n in range(1, 6)))
    assert len(entra.requests) == 2


async def test_a_token_is_renewed_before_it_expires_and_not_earlier(context: Context, clock: Clock):
    async with (
        scripted(token("t-one-x", 3600), token("t-two-x", "3600")) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        await sink.send(batch({}))
        clock.tick(3299)
        await sink.send(batch({}))
        assert len(entra.requests) == 1
        clock.tick(1)
        await sink.send(batch({}))
    used = [seen.headers["authorization"] for seen in api.requests]
    assert used == ["Bearer t-one-x", "Bearer t-one-x", "Bearer t-two-x"]


async def test_an_outage_of_entra_does_not_matter_while_the_old_token_lasts(
    context: Context, clock: Clock
):
    async with (
        scripted(token("t-one-x", 3600), reply(503), reply(503)) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        await sink.send(batch({}))
        clock.tick(3400)
        await sink.send(batch({}))
        await sink.send(batch({}))
        assert len(entra.requests) == 2  # not one more with every send
        clock.tick(200)
        with pytest.raises(Retry, match="no token: HTTP 503"):
            await sink.send(batch({}))
    assert len(api.requests) == 3


@pytest.mark.parametrize("expires_in", [None, "soon", -1, 10**400, {}])
async def test_a_strange_lifetime_does_not_stop_anything(expires_in: object, context: Context):
    async with (
        scripted(token("t", expires_in)) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        await sink.send(batch({}))
        await sink.send(batch({}))
    assert len(entra.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 302])
async def test_bad_credentials_are_for_a_person_and_say_why(status: int, context: Context):
    body = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid secret."}
    async with (
        scripted(reply(status, body)) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        with pytest.raises(Hold, match=r"AADSTS7000215: Invalid secret.*Correct tenant_id"):
            await sink.send(batch({}))
    assert api.requests == []


@pytest.mark.parametrize(
    ("answer", "after", "throttled"),
    [
        (reply(429, Retry_After="77"), 77.0, True),
        (reply(500), None, False),
        (reply(503, Retry_After="7"), 7.0, True),
        (reply(400, {"error": "temporarily_unavailable"}), None, False),
        (reply(200, b"<html>sign in</html>"), None, False),
        (reply(200, {"access_token": "two\r\nlines"}), None, False),
        (RESET, None, False),
    ],
)
async def test_an_outage_of_entra_is_never_in_doubt(
    answer: bytes | str, after: float | None, throttled: bool, context: Context
):
    async with (
        scripted(answer) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        with pytest.raises(Retry, match="no token: ") as raised:
            await sink.send(batch({}))
    found = raised.value
    assert (found.after, found.throttled, found.ambiguous) == (after, throttled, False)
    assert api.requests == []


async def test_a_failure_is_told_to_all_that_wait_and_not_repeated_for_each(context: Context):
    async with scripted(reply(500)) as entra, tokens_of(entra.url, context) as tokens:
        # Not by sends: their rows are made in threads, and who comes late asks again.
        waiting = [tokens.headers() for _ in range(5)]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert len(entra.requests) == 1
    assert len({id(answer) for answer in answers}) == 5
    assert all(type(answer) is Retry for answer in answers)


@asynccontextmanager
async def tokens_of(authority: str, context: Context) -> AsyncIterator[Tokens]:
    mask = Masker([])
    http = HttpClient(HttpOptions(), mask)
    auth = Auth(tenant_id="contoso.com", client_id="c-1", client_secret=SecretStr(CLIENT_SECRET))
    tokens = Tokens(auth, authority, http, mask, context)
    await http.open()
    yield tokens
    await tokens.close()
    await http.close()


async def test_a_cancelled_send_does_not_take_the_token_from_the_others(context: Context):
    async with (
        scripted(HANG) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        first = asyncio.ensure_future(sink.send(batch({})))
        second = asyncio.ensure_future(sink.send(batch({}, first=2)))
        await entra.hanging.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not second.done()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
    assert len(entra.requests) == 1


async def test_no_connection_to_entra_is_not_in_doubt(context: Context):
    async with opened(
        by_id("http://127.0.0.1:9", f"http://127.0.0.1:{closed_port()}", context)
    ) as sink:
        with pytest.raises(Retry, match="no token: no connection") as raised:
            await sink.send(batch({}))
    assert not raised.value.ambiguous
