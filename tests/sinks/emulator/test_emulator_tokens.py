"""The token endpoint, and what becomes of tokens."""

from typing import Any

import pytest
from emulator_client import Clock, Connect


async def test_a_token_comes_as_entra_documents_it(connect: Connect):
    client = await connect(token_lifetime="90s")
    answer = await client.sign_in()
    assert answer.status == 200
    assert answer.body["token_type"] == "Bearer"
    assert answer.body["expires_in"] == 90
    assert (await client.post()).status == 200


@pytest.mark.parametrize(
    ("fields", "status", "error", "number"),
    [
        ({"grant_type": ""}, 400, "invalid_request", 900144),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"scope": ""}, 400, "invalid_request", 900144),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"scope": "https://analysis.windows.net/powerbi/api"}, 400, "invalid_scope", 1002012),
        ({"client_id": "stranger"}, 400, "unauthorized_client", 700016),
        ({"client_secret": ""}, 401, "invalid_client", 7000216),
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"tenant": "elsewhere"}, 400, "invalid_request", 90002),
    ],
)
async def test_bad_credentials_are_refused_in_entras_words(
    connect: Connect, fields: dict[str, Any], status: int, error: str, number: int
):
    known = {"tenant": "contoso", "client_id": "app", "client_secret": "right"}
    client = await connect(**known)
    answer = await client.sign_in(**(known | fields))
    assert (answer.status, answer.body["error"]) == (status, error)
    assert answer.body["error_codes"] == [number]
    assert answer.body["error_description"].startswith(f"AADSTS{number}: ")
    assert "right" not in str(answer.body)


async def test_an_expired_token_is_403_and_not_401(connect: Connect, clock: Clock):
    client = await connect(token_lifetime="60s")
    clock.now += 59
    assert (await client.post()).status == 200
    clock.now += 1
    answer = await client.post()
    assert (answer.status, answer.code) == (403, "TokenExpired")
    await client.sign_in()
    assert (await client.post()).status == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer stranger", "Basic dTpw"])
async def test_a_request_without_a_known_token_is_401(connect: Connect, header: str):
    client = await connect()
    answer = await client.post(headers={"Authorization": header})
    assert (answer.status, answer.code) == (401, "Unauthorized")
    assert client.emulator.rows("d", "t") == []


async def test_a_client_that_asks_for_tokens_in_a_loop_costs_no_memory(connect: Connect):
    client = await connect()
    tokens = client.emulator._world.tokens
    for _ in range(10_005):
        tokens.issue("app")
    assert repr(tokens) == "Tokens(10000 issued)"
    assert (await client.post()).status == 401  # the oldest token was forgotten
