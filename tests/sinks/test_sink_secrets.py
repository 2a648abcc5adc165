"""No secret is in any answer, nor in anything that it was raised from, whatever the server says."""

import asyncio
import base64
import json
import traceback
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

import pytest
from sink_helpers import (
    ENDLESS,
    RESET,
    Request,
    batch,
    chain,
    closed_port,
    opened,
    reply,
    scripted,
    serving,
    token,
)

from forebay.sinks import Answer, Context, Sink
from forebay.sinks.http import HttpSink, HttpSinkOptions
from forebay.sinks.powerbi import PowerBIOptions, PowerBISink

KEY = "Xq7%2FZr9%2BLm2Wk4Tn8%3D%3D"
CLIENT_SECRET = "8Q~client+secret/of=ours"
TOKEN = "eyJ0eXAiOiJKV1QiLCJhbGciOi.J9-token_of_ours"
PASSWORD = "p4ssphrase!of&ours"
HEADER = "hdr-value/of+ours=="


Make = Callable[[str, Context], Sink]


def forms(secret: str) -> set[str]:
    plain = unquote(secret)
    coded = base64.b64encode(plain.encode()).decode().rstrip("=")
    return {
        secret, plain, coded, quote(secret, safe=""), quote(plain, safe=""), quote_plus(plain),
        quote(plain, safe="").lower(), json.dumps(plain)[1:-1], repr(plain)[1:-1],
        plain.replace("+", " "), plain[:12],
    }  # fmt: skip


def echo(secrets: set[str], status: int, **headers: str):
    """A reply that throws back at us all that it was sent and all that it could know."""

    def answer(request: Request) -> bytes:
        known = [form for secret in secrets for form in sorted(forms(secret))]
        seen = [*known, request.target, *request.headers.values(), request.body.decode()]
        text = " and ".join(reversed(seen))
        body = {"error": {"code": "Echo", "message": text[:60_000], "details": seen}}
        return reply(status, body, **headers)

    return answer


def secret_headers(secrets: set[str], status: int):
    text = " and ".join(secrets)
    return reply(status, WWW_Authenticate=f"Bearer {text}", RequestId=text)


def push(url: str, context: Context) -> Sink:
    address = f"{url}/beta/t/datasets/d/rows?key={KEY}"
    return PowerBISink(PowerBIOptions(push_url=address), context)


def dataset(url: str, context: Context) -> Sink:
    auth = {"tenant_id": "t", "client_id": "c", "client_secret": CLIENT_SECRET}
    return PowerBISink(
        PowerBIOptions.model_validate(
            {"dataset_id": "d", "table": "T", "auth": auth, "api_url": url, "authority_url": url}
        ),
        context,
    )


def http(url: str, context: Context) -> Sink:
    address = f"{url}/hook/{quote(TOKEN)}?k={KEY}".replace("//", f"//u:{quote(PASSWORD)}@")
    return HttpSink(HttpSinkOptions(url=address, headers={"X-Api-Key": HEADER}), context)


SECRETS = {push: {KEY}, dataset: {CLIENT_SECRET, TOKEN}, http: {KEY, TOKEN, PASSWORD, HEADER}}
MAKERS = pytest.mark.parametrize("make", [push, dataset, http])
STATUSES = (302, 307, 400, 401, 403, 404, 413, 422, 429, 500, 503)


async def failure(sink: Sink) -> Answer:
    async with opened(sink):
        with pytest.raises(Answer) as raised:
            await sink.send(batch({"a": 1}))
    return raised.value


def assert_silent(answer: Answer, sink: Sink, make: Make) -> None:
    shown = [repr(sink), str(answer.status)]
    for link in chain(answer):
        shown += [str(link), repr(link), repr(link.args), repr(vars(link))]
        shown += traceback.format_exception(link)
    text = "\n".join(shown)
    assert answer.reason
    assert not {form for secret in SECRETS[make] for form in forms(secret) if form in text}


@MAKERS
@pytest.mark.parametrize("status", STATUSES)
async def test_a_server_that_echoes_everything(make: Make, status: int, context: Context):
    async with scripted(
        *first_a_token(make), echo(SECRETS[make], status, Location="http://h/?" + KEY)
    ) as server:
        sink = make(server.url, context)
        answer = await failure(sink)
    assert_silent(answer, sink, make)


@MAKERS
@pytest.mark.parametrize("status", [400, 401, 403])
async def test_secrets_in_headers(make: Make, status: int, context: Context):
    async with scripted(*first_a_token(make), secret_headers(SECRETS[make], status)) as server:
        sink = make(server.url, context)
        answer = await failure(sink)
    assert_silent(answer, sink, make)


@MAKERS
@pytest.mark.parametrize(
    "line", [RESET, ENDLESS, b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
async def test_connections_that_break(make: Make, line: bytes | str, context: Context):
    async with scripted(*first_a_token(make), line) as server:
        sink = make(server.url, context)
        answer = await failure(sink)
    assert_silent(answer, sink, make)


@MAKERS
async def test_refused_connections(make: Make, context: Context):
    sink = make(f"http://127.0.0.1:{closed_port()}", context)
    assert_silent(await failure(sink), sink, make)


@MAKERS
async def test_names_that_do_not_resolve(make: Make, context: Context):
    sink = make("http://a..b", context)
    assert_silent(await failure(sink), sink, make)


@MAKERS
async def test_a_server_without_tls(make: Make, context: Context):
    async with serving(speak_plainly) as address:
        sink = make(f"https://{address}", context)
        answer = await failure(sink)
    assert_silent(answer, sink, make)


@pytest.mark.parametrize("status", STATUSES)
async def test_an_authority_that_echoes_the_client_secret(status: int, context: Context):
    async with scripted(echo({CLIENT_SECRET}, status)) as server:
        sink = dataset(server.url, context)
        answer = await failure(sink)
    assert_silent(answer, sink, dataset)


async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
    await reader.read(1)
    writer.write(reply(400))
    await writer.drain()


def first_a_token(make: Make) -> list[bytes]:
    return [token(TOKEN)] if make is dataset else []
