import asyncio
import gzip
from typing import Any

import pytest
from sink_helpers import ENDLESS, HANG, RESET, STALLED, chain, closed_port, reply, scripted, serving
from yarl import URL

from forebay.sinks import Hold, Retry
from forebay.sinks._http import HttpClient, HttpOptions
from forebay.sinks._masking import Masker

SECRET = "Xq7/Zr9+Lm2="
QUERY = "?key=Xq7%2FZr9%2BLm2%3D"


async def request(
    url: str,
    *,
    method: str = "POST",
    body: bytes = b"{}",
    seconds: float | None = None,
    **options: Any,
):
    client = HttpClient(HttpOptions(**options), Masker([SECRET]), body_seconds=0.01)
    await client.open()
    try:
        return await client.request(
            method, URL(url + QUERY, encoded=True), body, {}, seconds=seconds
        )
    finally:
        await client.close()


def assert_no_secret(error: BaseException):
    for link in chain(error):
        assert "Xq7" not in f"{link!s} {link!r} {link.args!r} {vars(link)!r}"


async def test_a_refused_connection_is_not_taken_for_a_possible_duplicate():
    with pytest.raises(Retry) as raised:
        await request(f"http://127.0.0.1:{closed_port()}")
    assert not raised.value.ambiguous
    assert "no connection to http://127.0.0.1:" in raised.value.reason
    assert_no_secret(raised.value)


async def test_a_name_that_does_not_resolve_is_not_taken_for_a_possible_duplicate():
    with pytest.raises(Retry) as raised:
        await request("http://a..b/")
    assert_no_secret(raised.value)


async def test_a_server_that_does_not_speak_tls_is_not_sent_anything():
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply(400, b"this is plain HTTP"))
        await writer.drain()

    async with serving(plain) as address:
        with pytest.raises(Retry) as raised:
            await request(f"https://{address}")
    assert not raised.value.ambiguous
    assert "SSL" in raised.value.reason
    assert_no_secret(raised.value)


async def test_a_handshake_that_hangs_ends_and_nothing_was_sent():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as address:
        with pytest.raises(Retry) as raised:
            await request(f"https://{address}", connect_timeout="20ms")
    assert raised.value.reason == f"no connection to https://{address} in time"
    assert not raised.value.ambiguous
    assert_no_secret(raised.value)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_reset_after_the_request_is_in_doubt_and_never_sent_twice(method: str):
    async with scripted(RESET) as server:
        with pytest.raises(Retry) as raised:
            await request(server.url, method=method)
    assert raised.value.ambiguous
    assert len(server.requests) == 1
    assert "broke before the answer" in raised.value.reason
    assert_no_secret(raised.value)


async def test_a_put_on_a_connection_that_went_stale_is_not_repeated_behind_our_back():
    async with scripted(reply(200), RESET, reply(200)) as server:
        client = HttpClient(HttpOptions(), Masker())
        await client.open()
        await client.request("PUT", URL(server.url), b"1", {})
        with pytest.raises(Retry) as raised:
            await client.request("PUT", URL(server.url), b"2", {})
        await client.close()
    assert raised.value.ambiguous
    assert [seen.body for seen in server.requests] == [b"1", b"2"]


async def test_a_reset_in_the_middle_of_the_head_is_in_doubt():
    async with scripted(b"HTTP/1.1 200 OK\r\nContent-", RESET) as server:
        with pytest.raises(Retry) as raised:
            await request(server.url, seconds=0.05)
    assert raised.value.ambiguous


async def test_what_is_not_http_is_in_doubt():
    async with scripted(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as server:
        with pytest.raises(Retry) as raised:
            await request(server.url)
    assert raised.value.ambiguous
    assert_no_secret(raised.value)


async def test_an_exchange_with_a_bound_ends_when_no_answer_comes():
    async with scripted(HANG) as server:
        with pytest.raises(Retry) as raised:
            await request(server.url, seconds=0.02)
    assert raised.value.ambiguous
    assert_no_secret(raised.value)


async def test_an_endless_body_neither_hangs_nor_fills_memory():
    async with scripted(ENDLESS) as server:
        answered = await request(server.url)
    assert answered.status == 500
    assert len(answered.body) == 64 * 1024


async def test_a_body_that_stalls_does_not_cost_the_status():
    async with scripted(STALLED) as server:
        answered = await request(server.url)
    assert (answered.status, answered.body) == (400, b"the beginning")


async def test_a_body_that_is_compressed_unasked_is_read_and_cannot_explode():
    bomb = gzip.compress(b"why" * 1_000_000)
    async with scripted(reply(400, bomb, Content_Encoding="gzip")) as server:
        answered = await request(server.url)
    assert answered.body == (b"why" * 1_000_000)[: 64 * 1024]
    assert server.requests[0].headers["accept-encoding"] == "identity"
    async with scripted(reply(400, b"broken", Content_Encoding="gzip")) as server:
        assert (await request(server.url)).body == b""


async def test_a_redirect_is_a_reply_and_not_followed():
    async with (
        scripted(reply(200)) as elsewhere,
        scripted(reply(307, Location=elsewhere.url)) as server,
    ):
        answered = await request(server.url)
    assert answered.status == 307
    assert elsewhere.requests == []


async def test_a_refusal_that_comes_before_the_body_was_read_is_not_lost():
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply(413, b"too much"))
        await reader.read()

    async with serving(early) as address:
        answered = await request(f"http://{address}", body=b"x" * 8_000_000)
    assert (answered.status, answered.body) == (413, b"too much")


async def test_requests_go_through_the_proxy_whose_password_stays_hidden():
    async with scripted(reply(407, b"no such user")) as proxy:
        address = proxy.url.replace("http://", "http://user:passphrase@")
        answered = await request("http://service.invalid", proxy=address)
        assert answered.status == 407
        assert proxy.requests[0].target == "http://service.invalid/" + QUERY
        with pytest.raises(Retry) as raised:
            await request("https://service.invalid", proxy=address)
        assert not raised.value.ambiguous
        assert_no_secret(raised.value)
    assert "passphrase" not in repr(HttpOptions(proxy=address))


async def test_cookies_are_not_kept():
    async with scripted(reply(200, Set_Cookie="a=b")) as server:
        client = HttpClient(HttpOptions(), Masker())
        await client.open()
        for _ in range(2):
            await client.request("POST", URL(server.url), b"", {})
        await client.close()
    assert "cookie" not in server.requests[1].headers


async def test_a_client_that_was_not_opened_says_so():
    client = HttpClient(HttpOptions(), Masker())
    with pytest.raises(RuntimeError, match="open"):
        await client.request("POST", URL("http://127.0.0.1:1/"), b"", {})
    await client.close()


async def test_a_url_that_cannot_be_used_is_held_for_a_person():
    with pytest.raises(Hold) as raised:
        await request("ftp://127.0.0.1/")
    assert_no_secret(raised.value)
