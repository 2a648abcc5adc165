from typing import Any
from urllib.parse import parse_qs

import pytest
from sink_helpers import (
    CLIENT_SECRET,
    RESET,
    batch,
    by_id,
    closed_port,
    opened,
    reply,
    scripted,
    token,
)

from forebay.sinks import Answer, Context, Hold, Rejected, Retry, TooLarge
from forebay.sinks.powerbi import PowerBIOptions, PowerBISink

EXPIRED = reply(403, {"error": {"code": "TokenExpired", "message": "Access token has expired"}})


def by_push_url(url: str, context: Context, **options: Any) -> PowerBISink:
    address = f"{url}/beta/t/datasets/d/rows?key=Xq7%2FZr9%2BLm2"
    return PowerBISink(PowerBIOptions(push_url=address, **options), context)


async def test_a_push_url_is_opaque_and_takes_a_bare_array(context: Context):
    async with scripted(reply(200)) as server, opened(by_push_url(server.url, context)) as sink:
        await sink.send(batch(b'{"a":1.10}', b'{"b":2}'))
    (request,) = server.requests
    assert request.target == "/beta/t/datasets/d/rows?key=Xq7%2FZr9%2BLm2"
    assert request.body == b'[{"a":1.10},{"b":2}]'
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


async def test_a_push_dataset_takes_rows_with_a_token(context: Context):
    async with (
        scripted(token("t-one-x")) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        await sink.send(batch({"a": 1}))
        await sink.send(batch({"a": 2}, first=2))
    asked, (first, second) = entra.requests, api.requests
    assert first.target == "/v1.0/myorg/groups/w-1/datasets/d-1/tables/Sales%20Figures/rows"
    assert (first.body, second.body) == (b'{"rows":[{"a": 1}]}', b'{"rows":[{"a": 2}]}')
    assert first.headers["authorization"] == second.headers["authorization"] == "Bearer t-one-x"
    assert len(asked) == 1
    assert asked[0].target == "/contoso.com/oauth2/v2.0/token"
    assert parse_qs(asked[0].body.decode()) == {
        "client_id": ["c-1"],
        "client_secret": [CLIENT_SECRET],
        "grant_type": ["client_credentials"],
        "scope": ["https://analysis.windows.net/powerbi/api/.default"],
    }


async def test_columns_are_mapped_and_bad_rows_named_before_anything_is_sent(context: Context):
    columns = {"A": {"from": "a", "type": "Int64"}, "Seq": "@seq"}
    async with (
        scripted(reply(200)) as server,
        opened(by_push_url(server.url, context, columns=columns)) as sink,
    ):
        await sink.send(batch({"a": "1"}))
        with pytest.raises(Rejected) as raised:
            await sink.send(batch({"a": 1}, {"a": "x"}))
    assert raised.value.rows == [1]
    assert [request.body for request in server.requests] == [b'[{"A":1,"Seq":1}]']


STATUSES = [
    (200, None), (201, None), (202, None),
    (429, Retry), (408, Retry), (500, Retry), (502, Retry), (503, Retry), (504, Retry),
    (400, Rejected), (422, Rejected), (413, TooLarge),
    (401, Hold), (403, Hold), (404, Hold), (405, Hold), (410, Hold), (302, Hold), (304, Hold),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_each_status_has_its_answer(status: int, kind: type[Answer] | None, context: Context):
    body = {"error": {"code": "Code", "message": "the text that matters"}}
    async with (
        scripted(reply(status, body if status != 304 else b"")) as server,
        opened(by_push_url(server.url, context)) as sink,
    ):
        if kind is None:
            await sink.send(batch({}))
            return
        with pytest.raises(kind) as raised:
            await sink.send(batch({}))
    answer = raised.value
    assert answer.status == status
    assert status == 304 or "Code: the text that matters" in answer.reason
    if isinstance(answer, Retry):
        assert answer.ambiguous == (status != 429)
        assert answer.throttled == (status == 429)


async def test_a_wait_of_an_hour_is_not_cut_short(context: Context):
    async with (
        scripted(reply(429, Retry_After="3599")) as server,
        opened(by_push_url(server.url, context)) as sink,
    ):
        with pytest.raises(Retry) as raised:
            await sink.send(batch({}))
    assert (raised.value.after, raised.value.throttled) == (3599.0, True)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
@pytest.mark.parametrize("code", ["FeatureDeprecatedError", "ItemNotFound"])
async def test_a_model_at_fault_does_not_send_every_row_to_the_dead_letters(
    status: int, code: str | None, context: Context
):
    async with (
        scripted(reply(status, {"error": {"code": code, "message": "gone"}})) as server,
        opened(by_push_url(server.url, context)) as sink,
    ):
        with pytest.raises(Hold, match=f"HTTP {status}: {code}: gone"):
            await sink.send(batch({}))


@pytest.mark.parametrize("refusal", [reply(401), EXPIRED], ids=["401", "403 TokenExpired"])
async def test_an_expired_token_costs_one_more_request_and_nothing_else(
    refusal: bytes, context: Context
):
    async with (
        scripted(token("t-one-x"), token("t-two-x")) as entra,
        scripted(refusal, reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        await sink.send(batch({"a": 1}))
    sent = [(seen.headers["authorization"], seen.body) for seen in api.requests]
    assert sent == [(f"Bearer t-{n}-x", b'{"rows":[{"a": 1}]}') for n in ("one", "two")]


@pytest.mark.parametrize("refusal", [reply(401), EXPIRED], ids=["401", "403 TokenExpired"])
async def test_a_token_refused_twice_is_for_a_person(refusal: bytes, context: Context):
    async with (
        scripted(token()) as entra,
        scripted(refusal) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        with pytest.raises(Hold):
            await sink.send(batch({}))
    assert (len(entra.requests), len(api.requests)) == (2, 2)


async def test_another_403_does_not_ask_for_tokens_in_a_loop(context: Context):
    async with (
        scripted(token()) as entra,
        scripted(reply(403, b"not a member")) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        with pytest.raises(Hold, match=r"not a member\. Let the service principal write"):
            await sink.send(batch({}))
    assert (len(entra.requests), len(api.requests)) == (1, 1)


async def test_a_push_url_that_is_refused_is_held_at_once(context: Context):
    async with scripted(EXPIRED) as server, opened(by_push_url(server.url, context)) as sink:
        with pytest.raises(Hold):
            await sink.send(batch({}))
    assert len(server.requests) == 1


async def test_a_reset_after_the_rows_were_sent_is_in_doubt(context: Context):
    async with scripted(RESET) as server, opened(by_push_url(server.url, context)) as sink:
        with pytest.raises(Retry) as raised:
            await sink.send(batch({}))
    assert raised.value.ambiguous
    assert len(server.requests) == 1


async def test_a_refused_connection_is_not_in_doubt(context: Context):
    async with opened(by_push_url(f"http://127.0.0.1:{closed_port()}", context)) as sink:
        with pytest.raises(Retry) as raised:
            await sink.send(batch({}))
    assert not raised.value.ambiguous


async def test_rows_that_grew_beyond_a_request_are_halved_rather_than_refused(context: Context):
    columns = {f"Column {n} with a long name": "a" for n in range(75)}
    sink = by_push_url("http://127.0.0.1:9", context, columns=columns)
    with pytest.raises(TooLarge, match="16000000"):
        await sink.send(batch(*[{"a": "x" * 100}] * 2000))


@pytest.mark.parametrize("status", [307, 308])
async def test_rows_follow_within_the_configured_host(status: int, context: Context):
    async with (
        scripted(token("t-one-x")) as entra,
        scripted(reply(status, Location="/elsewhere?x=1"), reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        await sink.send(batch({"a": 1}))
    first, second = api.requests
    assert (second.method, second.target) == ("POST", "/elsewhere?x=1")
    assert second.body == first.body
    assert second.headers["authorization"] == "Bearer t-one-x"


async def test_redirects_take_neither_token_nor_rows_elsewhere(context: Context):
    async with (
        scripted(reply(200)) as elsewhere,
        scripted(token()) as entra,
        scripted(reply(307, Location=elsewhere.url + "/v1.0/myorg")) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        with pytest.raises(Hold, match="must not go"):
            await sink.send(batch({}))
    assert elsewhere.requests == []


async def test_redirects_in_a_circle_end(context: Context):
    async with (
        scripted(reply(307, Location="/again")) as server,
        opened(by_push_url(server.url, context)) as sink,
    ):
        with pytest.raises(Hold, match="in circles"):
            await sink.send(batch({}))
    assert len(server.requests) == 4
