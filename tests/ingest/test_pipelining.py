import asyncio
import socket
import struct

import pytest
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

from forebay.buffer.errors import BufferFull, BufferUnavailable
from forebay.daemon.ingest.link import MAX_WAITING

HEALTH = request(b"", b"/healthz", method=b"GET", content_type=None, length=False)
CHUNKED = request(
    chunked(b'{"a":', b" 1}", extension=b";x=y", trailer=b"T: 1\r\n"),
    length=False,
    headers=(b"Transfer-Encoding: chunked",),
)
STREAM = b"".join(
    [
        request(b'{"n": 1}'),
        b"\r\n",
        CHUNKED,
        HEALTH,
        request(b"nope"),
        request(b"x", path=b"/nowhere"),
        request(b"{}\n[]\n", content_type=LINES),
        request(b'{"n": 2}', headers=(b"Upgrade: h2c", b"Connection: Upgrade")),
        request(b"", b"/healthz", method=b"HEAD", length=False),
        request(b'{"n": 3}', headers=(b"Connection: close",)),
    ]
)
STATUSES = [200, 200, 200, 400, 404, 200, 200, 200, 200]


async def talk(served: Served, *pieces: bytes) -> bytes:
    """Send pieces, each on its own: the server has taken one before it gets the next."""
    reader, writer = await served.connect()
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return await reader.read()


def shape(data: bytes) -> list[tuple[int, bytes]]:
    # The answer to HEAD announces a body that does not come.
    head = data.index(b'{"status": "ok"}') + 1
    mark = data.index(b"Content-Length: 16", head)
    data = data[:mark] + b"Content-Length: 00" + data[mark + 18 :]
    return [(answer.status, answer.raw.partition(b'"first_seq"')[0]) for answer in answers(data)]


async def test_where_a_stream_is_split_changes_the_answers(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        whole = shape(await talk(served, STREAM))
        stored = [entry.payload for entry in served.log.entries]
        assert [status for status, _ in whole] == STATUSES
        for place in range(1, len(STREAM)):
            served.log.entries.clear()
            assert shape(await talk(served, STREAM[:place], STREAM[place:])) == whole
            assert [entry.payload for entry in served.log.entries] == stored


async def test_single_bytes_change_the_answers(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        whole = shape(await talk(served, STREAM))
        parts = [STREAM[place : place + 1] for place in range(len(STREAM))]
        assert shape(await talk(served, *parts)) == whole


async def test_answers_overtake_each_other(listener: str, kitchen: Kitchen) -> None:
    log = ScriptedLog("hold", "hold", BufferFull("full"))
    async with kitchen.served(log) as served:
        reader, writer = await served.connect(listener)
        data = request() * 2 + request(b"nope") + HEALTH + request()
        writer.write(data)
        writer.write_eof()
        await until(lambda: len(log.held) == 2 and not log.script)
        first, second = log.held
        log.release(*second)
        await asyncio.sleep(0)
        log.release(*first)
        found = answers(await reader.read())
        assert [answer.status for answer in found] == [200, 200, 400, 200, 429]
        assert [seqs(answer) for answer in found[:2]] == [(2, 2), (1, 1)]


def seqs(answer: Answer) -> tuple[int, int]:
    return answer.body["first_seq"], answer.body["last_seq"]


async def test_a_client_that_waits_for_nothing_fills_the_memory(
    listener: str, kitchen: Kitchen
) -> None:
    log = ScriptedLog(*["hold"] * 10_000)
    async with kitchen.served(log) as served:
        reader, writer = await served.connect(listener)
        writer.transport.set_write_buffer_limits(high=16 * 1024)
        sender, reading = asyncio.ensure_future(flood(writer)), asyncio.ensure_future(reader.read())
        await until(lambda: len(log.held) >= MAX_WAITING)
        (connection,) = connections(served)
        await until(lambda: not connection._reading)
        held = len(log.held)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(log.held) == held
        # Once its answers are out, the rest of its requests is read.
        log.script.clear()
        for item in log.held:
            log.release(*item)
        sent = await sender
        writer.write_eof()
        found = answers(await reading)
        assert len(found) == sent
        assert {answer.status for answer in found} == {200}


async def flood(writer: asyncio.StreamWriter) -> int:
    for _ in range(60):
        writer.write(request() * 100)
        await writer.drain()
    return 60 * 100


async def test_a_client_that_does_not_read_fills_the_memory(
    listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served(body_timeout="30s") as served:
        reader, writer = await served.connect(listener)
        reader._transport.pause_reading()
        sender = asyncio.ensure_future(flood_health(writer))
        await until(lambda: any(not c._outbox.writable for c in connections(served)))
        (connection,) = connections(served)
        assert connection._reading is False
        served.clock.now += 31
        served.server.sweep()
        await until(lambda: not connections(served))
        sender.cancel()
        with pytest.raises((asyncio.CancelledError, ConnectionError)):
            await sender


async def flood_health(writer: asyncio.StreamWriter, enough: asyncio.Event | None = None) -> int:
    """Ask for more than the kernel's buffers hold, until it is enough."""
    sent = 0
    while enough is None or not enough.is_set():
        writer.write(HEALTH * 100)
        await writer.drain()
        sent += 100
    return sent


async def test_a_slow_reader_loses_answers(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect(listener)
        reader._transport.pause_reading()
        enough = asyncio.Event()
        sender = asyncio.ensure_future(flood_health(writer, enough))
        await until(lambda: any(not c._outbox.writable for c in connections(served)))
        enough.set()
        reader._transport.resume_reading()
        reading = asyncio.ensure_future(reader.read())
        sent = await sender
        writer.write_eof()
        assert len(answers(await reading)) == sent


async def test_a_half_closed_connection_gets_no_answer(listener: str, kitchen: Kitchen) -> None:
    log = ScriptedLog("hold")
    async with kitchen.served(log) as served:
        reader, writer = await served.connect(listener)
        writer.write(request())
        writer.write_eof()
        await until(lambda: log.held and all(c._eof for c in connections(served)))
        log.release(*log.held[0])
        (answer,) = answers(await reader.read())
        assert answer.status == 200


@pytest.mark.parametrize("cut", [5, 40, -3])
async def test_half_a_request_is_stored(cut: int, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        first, second = answers(await served.talk(request() + request()[:cut]))
        assert (first.status, second.status) == (200, 400)
        assert second.headers["connection"] == "close"
        assert len(served.log.entries) == 1


async def test_a_client_that_only_looks_is_answered(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        assert await served.talk(b"", listener) == b""
        assert await served.talk(b"\r\n", listener) == b""


async def test_a_client_that_leaves_early_spoils_the_daemon(
    listener: str, kitchen: Kitchen, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    log = ScriptedLog("hold", "hold")
    async with kitchen.served(log) as served:
        _, writer = await served.connect(listener)
        writer.write(request() * 2)
        await until(lambda: len(log.held) == 2)
        if listener == "tcp":  # reset the connection rather than end it in good order
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await until(lambda: all(c._eof or c._transport is None for c in connections(served)))
        log.release(*log.held[0])
        log.held[1][1].set_exception(BufferFull("full"))
        await asyncio.sleep(0)
        served.server.stop_accepting()
        await served.server.drain()
        await asyncio.sleep(0)  # what is counted reaches the metrics in the next turn
        stored = served.metric("forebay_ingest_events_total", stream="bookings", outcome="accepted")
        assert stored == 1
    assert faults == []
    assert caplog.records == []


async def test_a_closing_log_leaves_a_client_without_answer(kitchen: Kitchen) -> None:
    log = ScriptedLog("hold")
    async with kitchen.served(log) as served:
        reader, writer = await served.connect()
        writer.write(request())
        writer.write_eof()
        await until(lambda: log.held)
        log.held[0][1].set_exception(BufferUnavailable("closed"))
        (answer,) = answers(await reader.read())
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_an_unforeseen_failure_is_silent(kitchen: Kitchen) -> None:
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    error = ZeroDivisionError()
    async with kitchen.served(ScriptedLog(error)) as served:
        assert await served.talk(request()) == b""
        exceptions = [context["exception"] for context in faults]
        assert [getattr(e, "__context__", None) or e for e in exceptions] == [error]


async def test_an_event_is_acknowledged_before_it_is_stored(
    listener: str, kitchen: Kitchen
) -> None:
    log = ScriptedLog("hold")
    async with kitchen.served(log) as served:
        reader, writer = await served.connect(listener)
        writer.write(request(EVENT))
        await until(lambda: log.held)
        for _ in range(100):
            await asyncio.sleep(0)
        assert reader._buffer == b""
        log.release(*log.held[0])
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 OK")
