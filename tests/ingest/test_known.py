"""A head that is known saves work, and must change nothing else."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_kit import (
    EVENT,
    LINES,
    Answer,
    Kitchen,
    ScriptedLog,
    Served,
    answers,
    chunked,
    connections,
    request,
    until,
)

from forebay.daemon.ingest.decode import decode_json
from forebay.daemon.ingest.guard import Guard
from forebay.daemon.ingest.known import MAX_KNOWN, Known, learn
from forebay.daemon.ingest.options import IngestOptions
from forebay.daemon.ingest.phase import BODY
from forebay.daemon.ingest.routes import Post, Router

TOKEN = b"Authorization: Bearer sesame"
POST = Post("bookings", decode_json)
ROUTER = Router(
    Guard(hosts=(), origins=(), token="", check_host=True), lambda _: True, max_body=1024
)


def head(text: bytes) -> Known:
    known = learn(text, POST, ROUTER)
    assert known is not None
    return known


# ── recognising a head ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [b"9", b"0", b"123456", b"007"])
@pytest.mark.parametrize("field", [b"Content-Length: ", b"content-LENGTH:", b"Content-Length: \t "])
def test_another_length_makes_a_head_unknown(field: bytes, length: bytes) -> None:
    text = b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"%s\r\nX: y\r\n\r\n"
    known, again = head(text % b"12"), text % length
    assert known.find(b"..." + again + b"body", 3) == (3 + len(again), int(length))


@pytest.mark.parametrize(
    "other",
    [
        b"POST / HTTP/1.1\r\nContent-Length: \r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: +1\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1,1\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1 1\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 0x1\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1234567890123456\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: z\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: y\r\nZ: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nX: y\r\n\r\n",
        b"post / HTTP/1.1\r\nContent-Length: 1\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: y\r\n\r",
        b"\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nX: y\r\n\r\n",
    ],
)
def test_a_head_passes_for_another(other: bytes) -> None:
    known = head(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: y\r\n\r\n")
    assert known.find(other, 0) is None


@given(st.integers(0, 9999), st.binary(max_size=3), st.integers(0, 80))
def test_a_changed_byte_goes_unseen(length: int, noise: bytes, place: int) -> None:
    text = b"POST /v1 HTTP/1.1\r\nContent-Length: %d\r\nIdempotency-Key: abc\r\n\r\n"
    known, again = head(text % 5), text % length
    changed = again[:place] + noise + again[place + len(noise) :]
    found = known.find(changed + b"body", 0)
    if found is None:
        assert changed != again
    else:
        # Nothing but the digits may differ from the head that was judged.
        before, after = text.split(b"%d")
        digits = changed[len(before) : found[0] - len(after)]
        assert changed[: found[0]] == before + digits + after
        assert digits.isdigit()
        assert int(digits) == found[1]


@pytest.mark.parametrize(
    "text",
    [
        b"\r\n" + request(),  # what comes before it is not of the head
        request(length=False, headers=(b"Transfer-Encoding: chunked",)),
        request(headers=(b"X: " + b"x" * MAX_KNOWN,)),
        request().replace(b"Content-Length: 9", b"Content-Length: 9 "),
    ],
)
def test_a_head_that_cannot_be_told_is_learned(text: bytes) -> None:
    assert learn(text, POST, ROUTER) is None


# ── on a connection ──────────────────────────────────────────────────────────────────────────


async def answer(
    served: Served, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes
) -> Answer:
    reader, writer = stream
    writer.write(data)
    raw = await reader.readuntil(b"\r\n\r\n")
    length = int(raw.lower().partition(b"content-length: ")[2].split()[0])
    (found,) = answers(raw + await reader.readexactly(length))
    return found


@pytest.mark.parametrize("body", [b'{"n": 22}', b"{}", b"nope", b""])
async def test_a_known_head_is_parsed_again(body: bytes, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        stream = await served.connect()
        await answer(served, stream, request())
        (connection,) = connections(served)
        parsed = connection._lines
        found = await answer(served, stream, request(body))
        assert found.status == (200 if body.startswith(b"{") else 400)
        assert connection._lines is parsed
        await answer(served, stream, request(body, headers=(b"X: y",)))
        assert connection._lines is not parsed


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ((b"Connection: close",), True),
        ((b"Expect: 100-continue",), True),
        ((b"Origin: https://app.example",), True),
        ((b"Upgrade: h2c", b"Connection: Upgrade"), True),
        ((b"Transfer-Encoding: chunked",), False),
    ],
)
async def test_a_head_that_asks_for_more_becomes_known(
    headers: tuple[bytes, ...], length: bool, kitchen: Kitchen
) -> None:
    async with kitchen.served(allowed_origins=["https://app.example"]) as served:
        reader, writer = await served.connect()
        body = EVENT if length else chunked(EVENT)
        writer.write(request(body, length=length, headers=headers))
        await until(lambda: served.log.entries)
        (connection,) = connections(served)
        assert connection._known is None
        await reader.readuntil(b"success")


async def test_who_asks_to_continue_is_told_so_also_behind_an_empty_body(kitchen: Kitchen) -> None:
    head: dict[str, Any] = {"headers": (b"Expect: 100-continue",), "content_type": LINES}
    async with kitchen.served() as served:
        reader, writer = await served.connect()
        writer.write(request(b"", **head))
        await reader.readuntil(b"null}")
        writer.write(request(EVENT, **head)[: -len(EVENT)])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(EVENT)
        await reader.readuntil(b"success")


async def test_a_head_is_known_by_what_another_asked_for(kitchen: Kitchen) -> None:
    first, second = request(), request(path=b"/v1/events/bookings.eu")
    async with kitchen.served() as served:
        reader, writer = await served.connect()
        for data in (first + second, first, second + first, second):
            writer.write(data)
            for _ in range(data.count(b"POST")):
                await reader.readuntil(b"}")
        streams = [entry.stream for entry in served.log.entries]
        assert streams == ["bookings", "bookings.eu"] * 3


async def test_a_refused_head_becomes_known(kitchen: Kitchen) -> None:
    async with kitchen.served(token="sesame") as served:
        stream = await served.connect()
        for data, status in (
            (request(), 401),
            (request(headers=(TOKEN,)), 200),
            (request(), 401),
            (request(headers=(TOKEN + b"x",)), 401),
            (request(headers=(TOKEN,)), 200),
        ):
            assert (await answer(served, stream, data)).status == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": "open"}, 401),
        ({"allowed_hosts": ()}, 403),
        ({"max_body": 1024}, 413),
        ({"max_event": 16}, 422),
        ({}, 200),
    ],
)
async def test_a_known_head_escapes_changed_options(
    changes: dict[str, object], status: int, listener: str, kitchen: Kitchen
) -> None:
    wide = {"token": "sesame", "allowed_hosts": ("forebay.internal",)}
    data = request(b'{"a": "%s"}' % (b"x" * 2000), host=b"forebay.internal", headers=(TOKEN,))
    async with kitchen.served(**wide) as served:
        stream = await served.connect(listener)
        assert (await answer(served, stream, data)).status == 200
        served.server.reconfigure(IngestOptions(**wide | changes))
        # A Unix socket does not look at Host.
        expected = 200 if status == 403 and listener == "unix" else status
        assert (await answer(served, stream, data)).status == expected


class Routes(ScriptedLog):
    """A log whose one sink can go."""

    gone = False

    def subscribers(self, stream: str) -> tuple[str, ...]:
        return () if self.gone else super().subscribers(stream)


async def test_a_known_head_is_stored_for_nobody(kitchen: Kitchen) -> None:
    log = Routes()
    async with kitchen.served(log) as served:
        stream = await served.connect()
        assert (await answer(served, stream, request())).status == 200
        log.gone = True
        assert (await answer(served, stream, request())).status == 404
        log.gone = False
        assert (await answer(served, stream, request())).status == 200


async def test_a_known_head_is_served_while_stopping(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        stream = await served.connect()
        assert (await answer(served, stream, request())).status == 200
        served.server.stop_accepting()
        found = await answer(served, stream, request() * 2)
        assert (found.status, found.headers["connection"]) == (503, "close")
        assert await stream[0].read() == b""


async def test_one_clients_head_is_known_to_another(kitchen: Kitchen) -> None:
    async with kitchen.served(token="sesame") as served:
        first, second = await served.connect(), await served.connect()
        assert (await answer(served, first, request(headers=(TOKEN,)))).status == 200
        assert (await answer(served, second, request())).status == 401
        assert sorted(c._known is None for c in connections(served)) == [False, True]


# ── its body ─────────────────────────────────────────────────────────────────────────────────


async def partly(served: Served, sent: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection in the middle of the body behind a known head."""
    stream = await served.connect()
    await answer(served, stream, request())
    data = request(b'{"n": 12345678}')
    stream[1].write(data[: len(data) - 15 + sent])
    (connection,) = connections(served)
    await until(lambda: connection._phase is BODY)
    return stream


@pytest.mark.parametrize("sent", [0, 1, 14])
async def test_the_body_behind_a_known_head_comes_for_ever(sent: int, kitchen: Kitchen) -> None:
    async with kitchen.served(body_timeout="30s") as served:
        reader, writer = await partly(served, sent)
        served.clock.now += 29
        served.server.sweep()
        (connection,) = connections(served)
        if sent < 14:  # each byte gives it more time
            writer.write(b'{"n": 12345678}'[sent : sent + 1])
            await until(lambda: connection._size == sent + 1)
            served.clock.now += 29
            served.server.sweep()
            assert connection._phase is BODY
        served.clock.now += 31
        served.server.sweep()
        (found,) = answers(await reader.read())
        assert (found.status, found.headers["connection"]) == (408, "close")
        assert len(served.log.entries) == 1


async def test_half_a_body_behind_a_known_head_is_stored(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        reader, writer = await partly(served, 9)
        writer.write_eof()
        (found,) = answers(await reader.read())
        assert (found.status, found.headers["connection"]) == (400, "close")
        assert len(served.log.entries) == 1


# ── as on fresh connections ──────────────────────────────────────────────────────────────────

bodies = st.sampled_from([EVENT, b'{"n": [{}]}', b"", b"[]", b"nope", b'{"a":1}\n{"b":2}\n[]\n'])
lines = st.lists(
    st.sampled_from(
        [
            TOKEN,
            TOKEN,
            b"authorization: bearer sesame",
            b"Authorization: Bearer other",
            b"Idempotency-Key: k",
            b"Idempotency-Key: ",
            b"Origin: https://app.example",
            b"Origin: https://evil.example",
            b"Content-Encoding: gzip",
            b"X-Content-Length: 3",
            b"X: Content-Length: 3",
            b"Content-Length: 9",
            b"Transfer-Encoding: chunked",
            b"Connection: close",
            b"Upgrade: h2c",
            b"X: " + b"x" * MAX_KNOWN,
        ]
    ),
    max_size=3,
)
requests = st.builds(
    lambda blank, *args, **fields: blank + request(*args, **fields),
    st.sampled_from([b"", b"", b"", b"\r\n"]),
    bodies,
    st.sampled_from(
        [
            b"/v1/events/bookings",
            b"/v1/events/bookings.eu?atomic=true",
            b"/v1/events/x",
            b"/healthz",
        ]
    ),
    method=st.sampled_from([b"POST", b"POST", b"POST", b"GET"]),
    content_type=st.sampled_from([None, b"application/json", LINES, b"text/plain"]),
    host=st.sampled_from([b"localhost", b"localhost", b"evil.example", None]),
    version=st.sampled_from([b"1.1", b"1.1", b"1.0"]),
    headers=lines.map(tuple),
)


@settings(deadline=None, max_examples=60)
@given(
    # Few different ones, often repeated: so that heads become known, and are mistaken if ever.
    st.lists(requests, min_size=1, max_size=3).flatmap(
        lambda few: st.lists(st.sampled_from(few), min_size=2, max_size=8)
    ),
    st.lists(st.integers(1, 400), max_size=6),
)
def test_a_connections_past_changes_its_answers(sent: list[bytes], sizes: list[int]) -> None:
    asyncio.run(compare(sent, sizes))


async def compare(sent: list[bytes], sizes: list[int]) -> None:
    settings = {"token": "sesame", "allowed_origins": ["https://app.example"], "socket": ""}
    kitchen = Kitchen(Path())
    taken: list[bytes] = []
    expected: list[Answer] = []
    async with kitchen.served(**settings) as fresh, kitchen.served(**settings) as kept:
        for data in sent:
            found = answers(await fresh.talk(data))
            expected += found
            taken.append(data)
            if found[-1].headers.get("connection") == "close":
                break
        got = answers(await in_pieces(kept, b"".join(taken), sizes))
        assert [shape(one) for one in got] == [shape(one) for one in expected]
        assert kept.log.entries == fresh.log.entries


async def in_pieces(served: Served, data: bytes, sizes: list[int]) -> bytes:
    reader, writer = await served.connect()
    for size in sizes:
        writer.write(data[:size])
        data = data[size:]
        for _ in range(3):
            await asyncio.sleep(0)
    writer.write(data)
    with contextlib.suppress(OSError):  # the server may have closed by now
        writer.write_eof()
    return await reader.read()


def shape(found: Answer) -> tuple[int, dict[str, str], bytes]:
    return found.status, found.headers, found.raw
