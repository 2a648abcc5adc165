import asyncio
import json

import pytest
from benchmarks.backlog import COLUMNS, arrival, counts, microseconds, powerbi_sink
from benchmarks.booking import NDJSON, booking
from benchmarks.idle import activity
from benchmarks.load import Client, post
from benchmarks.processes import Program, program
from benchmarks.programs.arrivals import delays
from benchmarks.start import closed_port, free_port, ready
from benchmarks.steady import stamped


def test_cpu_of_a_backlog_is_told_of_one_event() -> None:
    assert microseconds(3.0, 3_000_000) == pytest.approx(1.0)


def test_every_column_of_the_mapping_is_found_in_the_event() -> None:
    assert {column["from"] for column in COLUMNS.values()} == set(json.loads(booking()))


def test_no_quota_of_power_bi_throttles_the_drain() -> None:
    limits = powerbi_sink(Program(1, 1))["limits"]
    assert min(limits.values()) >= 1_000_000_000


def test_a_stamped_event_is_json_and_its_delay_is_found_in_a_batch() -> None:
    one, two = stamped(booking(), 1000.5), stamped(booking(), 1001.0)
    assert json.loads(one)["sent_at"] == 1000.5
    assert delays(one + b"\n" + two + b"\n", now=1002.0) == [1.5, 1.0]


async def test_rows_of_an_array_are_counted_though_it_has_no_lines() -> None:
    rows = b"[%b]" % b",".join(booking() for _ in range(7))
    async with program("rows") as sink:
        assert await _sent(sink, rows, rows) == 14


async def test_lines_are_counted_once_and_waited_for() -> None:
    async with program("arrivals") as sink:
        waiting = asyncio.create_task(arrival(sink, 3))
        await _sent(sink, stamped(booking(), 1.0), stamped(booking(), 1.0) + b"\n")
        assert not waiting.done()
        await _sent(sink, stamped(booking(), 1.0))
        await waiting
        found = await counts(sink)
    assert found["lines"] == len(found["delays"]) == 3
    assert min(found["delays"]) > 1_000_000_000


async def _sent(sink: Program, *bodies: bytes) -> int:
    client = await Client.open(sink.port)
    for body in bodies:
        await client.store(post(body, NDJSON))
    client.close()
    return int((await counts(sink))["lines"])


async def test_the_work_of_another_process_and_its_wake_ups_are_seen() -> None:
    async with program("sink") as sink:
        await _sent(sink, booking())
        before = activity(sink.pid)
        used = before - before
        async with asyncio.timeout(30):
            while not used.wakes:  # it need not have slept between two requests
                await _sent(sink, booking(), booking())
                used = activity(sink.pid) - before
    assert used.cpu > 0


def test_nobody_is_ready_at_a_port_where_nobody_listens() -> None:
    with closed_port() as port:
        assert not ready(port)


async def test_a_server_that_answers_something_else_is_not_ready() -> None:
    answers = {b"HTTP/1.1 503 Service Unavailable\r\n\r\n": False, b"HTTP/1.1 200 OK\r\n\r\n": True}
    for answer, expected in answers.items():

        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            assert await asyncio.to_thread(ready, port) is expected


def test_a_free_port_can_be_listened_on() -> None:
    assert 1024 <= free_port() < 65536
