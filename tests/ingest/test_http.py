"""HTTP as clients, proxies and attackers write it."""

import asyncio

import pytest
from ingest_kit import EVENT, Kitchen, answers, chunked, request

from forebay.daemon.ingest.head import MAX_FIELDS, MAX_HEAD

CHUNKED = (b"Transfer-Encoding: chunked",)
EXPECT = (b"Expect: 100-continue",)


async def test_chunks_are_not_joined(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        body = chunked(b"{", b'"id":', b" 1", b"}", extension=b";a=b", trailer=b"X: y\r\n")
        data = request(body, length=False, headers=CHUNKED)
        found = answers(await served.talk(data * 2, listener))
        assert [answer.status for answer in found] == [200, 200]
        assert served.log.entries[1].payload == EVENT


async def test_a_large_body_arrives_changed(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        event = b'{"a": "%s"}' % (b"x" * 900_000)
        body = b"[%s,%s]" % (event, event)
        pieces = [body[place : place + 7777] for place in range(0, len(body), 7777)]
        data = request(chunked(*pieces), length=False, headers=CHUNKED)
        found = answers(await served.talk(data + request(body), listener))
        assert [answer.status for answer in found] == [200, 200]
        assert {entry.payload for entry in served.log.entries} == {event + b"\n" + event}


SMUGGLED = {
    "length and chunks": (b"Content-Length: 5", *CHUNKED),
    "chunks and length": (*CHUNKED, b"Content-Length: 5"),
    "two lengths": (b"Content-Length: 8", b"Content-Length: 8"),
    "two different lengths": (b"Content-Length: 8", b"Content-Length: 9"),
    "a list of lengths": (b"Content-Length: 8, 8",),
    "a negative length": (b"Content-Length: -8",),
    "a signed length": (b"Content-Length: +8",),
    "no number": (b"Content-Length: 8x",),
    "an endless number": (b"Content-Length: " + b"9" * 30,),
    "an empty length": (b"Content-Length:",),
    "a space before the colon": (b"Content-Length : 8",),
    "chunks twice": (*CHUNKED, *CHUNKED),
    "chunked is not last": (b"Transfer-Encoding: chunked, gzip",),
    "a coding before chunked": (b"Transfer-Encoding: gzip, chunked",),
    "almost chunked": (b"Transfer-Encoding: xchunked",),
    "identity": (b"Transfer-Encoding: identity",),
    "a folded line": (b"Content-Length: 8\r\n Transfer-Encoding: chunked",),
    "a bare return": (b"Content-Length: 8\rTransfer-Encoding: chunked",),
    "a zero byte": (b"X: \0", b"Content-Length: 8"),
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_a_second_request_is_smuggled_in(name: str, listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        body = chunked(EVENT) if "Transfer" in repr(SMUGGLED[name]) else EVENT
        data = request(body, length=False, headers=SMUGGLED[name]) + request()
        answer = await served.ask(data, listener)
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
        assert served.log.entries == []


@pytest.mark.parametrize(
    "chunks",
    [b"8 \r\n", b"0x8\r\n", b"-8\r\n", b"\r\n", b"g\r\n", b"ffffffffffffffffff\r\n", b"8\n"],
)
async def test_a_broken_chunk_is_taken(chunks: bytes, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        body = chunks + EVENT[:8] + b"\r\n0\r\n\r\n"
        data = request(body, length=False, headers=CHUNKED)
        assert (await served.ask(data)).status == 400
        assert served.log.entries == []


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/0.9\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_answered_otherwise(data: bytes, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        answer = await served.ask(data)
        assert answer.status == 400
        assert answer.body["status"] == "failed"


@pytest.mark.parametrize(
    ("version", "line", "connection"),
    [
        (b"1.1", b"X: 1", None),
        (b"1.1", b"Connection: close", "close"),
        (b"1.0", b"X: 1", "close"),
        (b"1.0", b"Connection: keep-alive", "keep-alive"),
    ],
)
async def test_a_connection_lives_longer_or_shorter_than_asked(
    version: bytes, line: bytes, connection: str | None, listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect(listener)
        writer.write(request(version=version, headers=(line,)))
        data = await reader.readuntil(b"}")
        (answer,) = answers(data)
        assert answer.headers.get("connection") == connection
        if connection == "close":
            assert await reader.read() == b""
        else:
            writer.write(request(version=version, headers=(line,)))
            assert b"200 OK" in await reader.readuntil(b"}")


async def test_http_1_0_needs_a_host(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        assert (await served.ask(request(version=b"1.0", host=None), listener)).status == 200
        data = request(version=b"1.0", host=b"evil.example")
        assert (await served.ask(data, "tcp")).status == 403


async def test_http_1_0_sends_chunks(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        data = request(chunked(EVENT), version=b"1.0", length=False, headers=CHUNKED)
        assert (await served.ask(data)).status == 400


# ── Expect: 100-continue ─────────────────────────────────────────────────────────────────────


async def test_a_client_waits_for_100_in_vain(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect(listener)
        head, body = request(headers=EXPECT)[: -len(EVENT)], EVENT
        writer.write(head)
        assert await reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (403, {"headers": (*EXPECT, b"Origin: null")}),
        (404, {"path": b"/nowhere"}),
        (405, {"method": b"PUT"}),
        (415, {"content_type": b"text/plain"}),
        (413, {"length": False, "headers": (*EXPECT, b"Content-Length: 99999999999")}),
        (400, {"path": b"/v1/events/bookings?atomic=perhaps"}),
        (400, {"headers": (*EXPECT, b"ce-specversion: 1.0")}),
    ],
)
async def test_a_body_is_asked_for_that_is_not_wanted(
    status: int, change: dict[str, object], listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect(listener)
        data = request(**{"headers": EXPECT} | change)
        writer.write(data[: -len(EVENT)])
        (answer,) = answers(await reader.read())
        assert answer.status == status
        assert answer.headers["connection"] == "close"


async def test_a_body_is_asked_for_while_stopping(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect()
        writer.write(request())
        await reader.readuntil(b"}")
        served.server.stop_accepting()
        writer.write(request(headers=EXPECT)[: -len(EVENT)])
        (answer,) = answers(await reader.read())
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_100_overtakes_an_answer(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        data = await served.talk(request() + request(headers=EXPECT))
        first, interim, second = answers(data)
        assert (first.status, interim.status, second.status) == (200, 100, 200)


@pytest.mark.parametrize(
    ("version", "body"), [(b"1.0", EVENT), (b"1.1", b"")], ids=["HTTP/1.0", "no body"]
)
async def test_100_is_sent_to_who_cannot_want_it(
    version: bytes, body: bytes, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        data = await served.talk(request(body, version=version, headers=EXPECT))
        assert answers(data)[0].status in (200, 400)


# ── an upgrade is not taken up ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_javas_client_loses_its_body(framing: str, listener: str, kitchen: Kitchen) -> None:
    upgrade = (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    )
    async with kitchen.served() as served:
        if framing == "length":
            data = request(headers=upgrade)
        else:
            data = request(chunked(EVENT), length=False, headers=(*CHUNKED, *upgrade))
        found = answers(await served.talk(data * 3, listener))
        assert [answer.status for answer in found] == [200, 200, 200]
        assert [entry.payload for entry in served.log.entries] == [EVENT] * 3


async def test_a_tunnel_is_opened(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        data = request(b"", b"localhost:443", method=b"CONNECT", length=False) + b"\x16\x03"
        answer = await served.ask(data)
        assert (answer.status, answer.headers["connection"]) == (404, "close")


# ── bounds ───────────────────────────────────────────────────────────────────────────────────

FILLER = b"x" * MAX_HEAD
ENDLESS = {
    "a line": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + FILLER,
    "a name": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + FILLER,
    "a URL": b"GET /" + FILLER,
    "fields": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (MAX_HEAD // 6 + 1),
}


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("step", [1000, 1024 * 1024])
async def test_a_head_without_end_fills_the_memory(
    name: str, step: int, listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect(listener)
        data = ENDLESS[name]
        for place in range(0, len(data), step):
            writer.write(data[place : place + step])
            await writer.drain()
        # What decides is what comes after: the head goes on, or it ends.
        writer.write(b"x" * 1000 + b" HTTP/1.1\r\n\r\n" if name == "a URL" else b"x: y\r\n\r\n")
        writer.write_eof()
        (answer,) = answers(await reader.read())
        assert (answer.status, answer.headers["connection"]) == (431, "close")


async def test_the_bound_of_fields_is_off_by_one(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        for count, status in ((MAX_FIELDS, 200), (MAX_FIELDS + 1, 431)):
            lines = tuple(b"X-%d: y" % number for number in range(count - 3))
            assert (await served.ask(request(headers=lines))).status == status


async def test_a_long_head_is_refused_after_a_long_body(kitchen: Kitchen) -> None:
    # Bytes of the request before must not count for the head that they came along with.
    async with kitchen.served() as served:
        long = (b"X: " + b"y" * (MAX_HEAD - 1000),)
        data = (request(b'{"a": "%s"}' % (b"z" * 200_000)) + request(headers=long)) * 3
        assert [answer.status for answer in answers(await served.talk(data))] == [200] * 6


@pytest.mark.parametrize("where", ["extension", "trailer"])
async def test_what_is_beside_a_body_fills_the_memory(
    where: str, listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect(listener)
        head = request(b"", length=False, headers=CHUNKED)
        writer.write(head + (b"5;x=" if where == "extension" else chunked(b"{}")[:-2] + b"X: "))
        # What comes along with the head is not counted, so send more than one read of the server's.
        for _ in range(1000):
            writer.write(b"x" * 1000)
            await writer.drain()
        (answer,) = answers(await reader.read())
        assert answer.status == 431


async def test_chunks_without_end_fill_the_memory(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(max_body=4096) as served:
        reader, writer = await served.connect(listener)
        writer.write(request(b"", length=False, headers=CHUNKED))
        for _ in range(5):
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        (answer,) = answers(await reader.read())
        assert (answer.status, answer.headers["connection"]) == (413, "close")


async def test_a_refused_body_ends_the_connection(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(max_body=4096) as served:
        body = b"x" * 4000
        data = request(body, b"/nowhere")
        data += request(chunked(body), b"/nowhere", length=False, headers=CHUNKED)
        data += request()
        found = answers(await served.talk(data, listener))
        assert [answer.status for answer in found] == [404, 404, 200]


async def test_a_refused_body_without_end_is_read_for_ever(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(max_body=4096) as served:
        reader, writer = await served.connect(listener)
        writer.write(request(b"", b"/nowhere", length=False, headers=CHUNKED))
        (answer,) = answers(await reader.readuntil(b'"}'))
        assert answer.status == 404
        with pytest.raises(ConnectionError):
            await send_for_ever(writer)


async def send_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


async def test_a_client_that_sends_too_much_cannot_read_why(
    listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served(max_body=1024 * 1024) as served:
        reader, writer = await served.connect(listener)
        # The client sends all before it reads anything: more than the kernel's buffers hold.
        writer.write(request(b"x" * 3 * 1024 * 1024))
        await writer.drain()
        writer.write_eof()
        (answer,) = answers(await reader.read())
        assert (answer.status, answer.headers["connection"]) == (413, "close")
