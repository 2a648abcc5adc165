import asyncio
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from pydantic import ValidationError
from sink_helpers import HANG, RESET, Clock, batch, opened, part, reply, scripted

from forebay.sinks import Answer, Batch, Context, Hold, Rejected, Retry, TooLarge
from forebay.sinks._http_body import PIECE
from forebay.sinks.http import HttpSink, HttpSinkOptions


async def send(url: str, what: Batch, context: Context, **options: Any) -> None:
    async with opened(HttpSink(HttpSinkOptions(url=url, **options), context)) as sink:
        await sink.send(what)


async def test_numbers_and_keys_arrive_as_they_were_posted(context: Context):
    two = Batch("a1b2/sales", (part(b'{"b":1.10,"a":1}'), part(b'{"c": 1e2}', first=2)))
    async with scripted(reply(204)) as server:
        await send(server.url + "/in?x=1", two, context)
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/in?x=1")
    assert request.body == b'[{"b":1.10,"a":1},{"c": 1e2}]'
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "a1b2/sales/1-2"
    assert "content-encoding" not in request.headers


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()


@pytest.mark.parametrize(
    ("compression", "decompress"), [("none", bytes), ("gzip", gzip.decompress), ("zstd", zstd)]
)
async def test_a_body_says_how_it_is_made(
    compression: str, decompress: Callable[[bytes], bytes], context: Context
):
    async with scripted(reply(200)) as server:
        await send(
            server.url, batch({"a": 1}, {"a": 2}), context,
            format="ndjson", compression=compression, method="PUT",
        )  # fmt: skip
    (request,) = server.requests
    assert decompress(request.body) == b'{"a": 1}\n{"a": 2}\n'
    assert request.method == "PUT"
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.headers.get("content-encoding", "none") == compression


@pytest.mark.parametrize("format_", ["json", "ndjson"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
async def test_a_long_body_that_goes_out_piece_by_piece_is_whole(
    format_: str, compression: str, context: Context
):
    sizes = [10, PIECE - 1, 1, PIECE, PIECE + 1, 3 * PIECE, 5, 5]
    parts = [part(b'"%b"' % (b"x" * size), b"[%d]" % size, first=2 * n + 1)
             for n, size in enumerate(sizes)]  # fmt: skip
    async with scripted(reply(200)) as server:
        whole = Batch("a1b2/sales", tuple(parts))
        await send(server.url, whole, context, format=format_, compression=compression)
    (request,) = server.requests
    body = zstd(request.body) if compression == "zstd" else request.body
    if format_ == "ndjson":
        assert body == whole.ndjson() + b"\n"
    else:
        assert body == b"[" + b",".join(whole.events) + b"]"
    assert int(request.headers["content-length"]) == len(request.body)


async def test_a_batch_that_comes_again_is_the_same_to_the_byte(context: Context):
    async with scripted(RESET, reply(200)) as server:
        sink = HttpSink(HttpSinkOptions(url=server.url, compression="gzip"), context)
        async with opened(sink):
            with pytest.raises(Retry):
                await sink.send(batch({"a": 1}))
            await sink.send(batch({"a": 1}))
    first, second = server.requests
    assert (first.body, first.headers) == (second.body, second.headers)


async def test_the_operators_headers_win_over_ours(context: Context):
    headers = {"authorization": "Bearer s3cret-of-ours", "content-type": "application/vnd.x+json"}
    async with scripted(reply(200)) as server:
        await send(server.url, batch({}), context, headers=headers)
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer s3cret-of-ours"
    assert request.headers["content-type"] == "application/vnd.x+json"


async def test_credentials_in_the_url_are_sent_as_a_header(context: Context):
    async with scripted(reply(200)) as server:
        await send(server.url.replace("//", "//user:pass@"), batch({}), context)
    assert server.requests[0].headers["authorization"] == "Basic dXNlcjpwYXNz"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Rejected), (422, Rejected), (413, TooLarge), (429, Retry), (500, Retry), (302, Hold),
     (401, Hold), (403, Hold), (404, Hold), (405, Hold), (410, Hold), (415, Hold)],
)  # fmt: skip
async def test_each_status_has_its_answer(status: int, kind: type[Answer] | None, context: Context):
    async with scripted(reply(status, {"message": "because"}, Retry_After="4000")) as server:
        with pytest.raises(kind, match="because") as raised:
            await send(server.url, batch({}), context)
    assert raised.value.status == status
    if kind is Retry:
        assert raised.value.after == 4000.0
    assert len(server.requests) == 1


async def test_a_redirect_carries_nothing_elsewhere(context: Context):
    async with (
        scripted(reply(200)) as elsewhere,
        scripted(reply(308, Location=elsewhere.url)) as server,
    ):
        with pytest.raises(Hold, match="Redirects are not followed"):
            await send(server.url, batch({}), context)
    assert elsewhere.requests == []


async def test_a_send_can_be_cancelled_while_the_other_side_hangs(context: Context):
    async with scripted(HANG) as server:
        sink = HttpSink(HttpSinkOptions(url=server.url), context)
        async with opened(sink):
            sending = asyncio.ensure_future(sink.send(batch({})))
            await server.hanging.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending


async def test_dates_are_measured_on_the_injected_clock(context: Context, clock: Clock):
    clock.wall_now = 1_000_000_000.0
    async with scripted(reply(503, Retry_After="Sun, 09 Sep 2001 01:56:40 GMT")) as server:
        with pytest.raises(Retry) as raised:
            await send(server.url, batch({}), context)
    assert raised.value.after == 600.0
    assert raised.value.throttled


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://host/s3cret-path"}, "begins with https://"),
        ({"url": "https://"}, "begins with https://"),
        ({"url": "https://host:port/"}, "begins with https://"),
        ({"url": "https://host/with space"}, "without spaces"),
        ({"headers": {"Content-Length": "s3cret"}}, "leave the header Content-Length out"),
        ({"headers": {"idempotency-key": "s3cret"}}, "leave the header idempotency-key out"),
        ({"headers": {"a b": "s3cret"}}, "a character that HTTP forbids"),
        ({"headers": {"x": "s3cret\r\nevil: 1"}}, "the value of the header x"),
        ({"url": "https://s3cret@h/", "headers": {"Authorization": "s3cret"}}, "not in both"),
        ({"method": "GET"}, "method"),
        ({"compression": "s3cret"}, "compression"),
        ({"urll": "https://s3cret"}, "urll"),
    ],
)
def test_bad_options_are_told_clearly_and_without_secrets(options: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message) as raised:
        HttpSinkOptions.model_validate({"url": "https://host/", **options})
    assert "s3cret" not in str(raised.value)


def test_a_secret_read_from_a_file_may_end_with_a_newline():
    options = HttpSinkOptions(url="https://host/in\n", headers={"a": "b\n"})
    assert options.url.get_secret_value() == "https://host/in"
    assert options.headers["a"].get_secret_value() == "b"
    assert "host" not in json.dumps(options.model_dump(mode="json"))
