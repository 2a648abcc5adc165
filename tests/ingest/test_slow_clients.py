import asyncio

import pytest
from ingest_kit import EVENT, Kitchen, ScriptedLog, Served, answers, connections, request, until

from forebay.daemon.ingest.phase import BODY, ENDING, HEAD, IDLE, LINGER_SECONDS, LINGERING, Phase

TIMEOUTS = {"header_timeout": "10s", "body_timeout": "30s", "idle_timeout": "75s"}


async def pass_time(served: Served, seconds: float) -> None:
    served.clock.now += seconds
    served.server.sweep()
    for _ in range(3):
        await asyncio.sleep(0)


async def phase(served: Served, wanted: Phase) -> None:
    await until(lambda: [c._phase for c in connections(served)] == [wanted])


@pytest.mark.parametrize("head", [b"P", request()[:60]])
async def test_a_head_comes_for_ever(head: bytes, listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(**TIMEOUTS) as served:
        reader, writer = await served.connect(listener)
        writer.write(head[:-1])
        if head[:-1]:
            await phase(served, HEAD)
        await pass_time(served, 9)
        writer.write(head[-1:])  # a little now and then does not help
        await until(lambda: connections(served))
        await phase(served, HEAD)
        await pass_time(served, 9 if len(head) > 1 else 11)
        (answer,) = answers(await reader.read())
        assert (answer.status, answer.headers["connection"]) == (408, "close")


async def test_a_body_comes_for_ever(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(**TIMEOUTS) as served:
        reader, writer = await served.connect(listener)
        data = request()
        writer.write(data[:-3])
        await phase(served, BODY)
        await pass_time(served, 29)
        (connection,) = connections(served)
        before = connection._size
        writer.write(data[-3:-2])  # each byte gives it more time
        await until(lambda: connection._size > before)
        await pass_time(served, 29)
        assert connection._phase is BODY
        await pass_time(served, 2)
        (answer,) = answers(await reader.read())
        assert answer.status == 408
        assert served.log.entries == []


async def test_the_body_of_a_refused_request_gets_two_answers(kitchen: Kitchen) -> None:
    async with kitchen.served(**TIMEOUTS) as served:
        reader, writer = await served.connect()
        writer.write(request(path=b"/nowhere")[:-3])
        await phase(served, BODY)
        await pass_time(served, 31)
        (answer,) = answers(await reader.read())
        assert answer.status == 404


@pytest.mark.parametrize("data", [b"", b"\r\n", request()])
async def test_an_idle_connection_stays_for_ever(
    data: bytes, listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served(**TIMEOUTS) as served:
        reader, writer = await served.connect(listener)
        await until(lambda: connections(served))
        await pass_time(served, 1)
        if data:
            writer.write(data)
        expected = await reader.readuntil(b"}") if data == request() else b""
        await pass_time(served, 73)
        assert len(connections(served)) == 1
        await pass_time(served, 3)
        assert await reader.read() == b""
        assert expected.startswith(b"HTTP/1.1 200") or data != request()


async def test_a_slow_log_ends_the_connection(listener: str, kitchen: Kitchen) -> None:
    log = ScriptedLog("hold")
    async with kitchen.served(log, **TIMEOUTS) as served:
        reader, writer = await served.connect(listener)
        writer.write(request())
        await until(lambda: log.held)
        await pass_time(served, 3600)
        log.release(*log.held[0])
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        await pass_time(served, 74)  # idle since the answer, not since the request
        await phase(served, IDLE)


async def test_a_refused_client_lingers_for_ever(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(max_body=4096, **TIMEOUTS) as served:
        reader, writer = await served.connect(listener)
        writer.write(request(b"x" * 5000)[:1000])
        await phase(served, LINGERING)
        assert b" 413 " in await reader.read()
        await pass_time(served, LINGER_SECONDS - 1)
        assert len(connections(served)) == 1
        await pass_time(served, 2)
        await until(lambda: not connections(served))


async def test_a_refused_client_that_ends_is_held(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(max_body=4096, **TIMEOUTS) as served:
        reader, writer = await served.connect(listener)
        writer.write(request(b"x" * 5000)[:1000])
        await phase(served, LINGERING)
        writer.write_eof()
        await reader.read()
        await until(lambda: not connections(served))


async def test_a_request_behind_the_last_answer_is_taken(kitchen: Kitchen) -> None:
    async with kitchen.served(ScriptedLog("hold")) as served:
        reader, writer = await served.connect()
        writer.write(request(headers=(b"Connection: close",)) + request(EVENT))
        await until(lambda: served.log.held)
        await phase(served, ENDING)
        served.log.release(*served.log.held[0])
        assert len(answers(await reader.read())) == 1
        assert len(served.log.entries) == 1


async def test_whoever_comes_to_a_listener_that_slept_is_looked_after(kitchen: Kitchen) -> None:
    async with kitchen.served(idle_timeout="40ms") as served:
        for _ in range(2):  # nobody is looked after, nor anything done, while there is nobody
            reader, _ = await served.connect()
            await until(lambda: connections(served))
            served.clock.now += 1
            assert await reader.read() == b""
            await until(lambda: not connections(served))
