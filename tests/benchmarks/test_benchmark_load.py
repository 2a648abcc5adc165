import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from benchmarks.booking import JSON, NDJSON, bodies
from benchmarks.load import Client, Latencies, fill, open_loop, own_closed_loop, post
from benchmarks.programs.sink import Counts, Sink


class Piecemeal(asyncio.Protocol):
    """Answers each piece of data with one answer, byte by byte."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for byte in self._answer:
            self._transport.write(bytes([byte]))


@asynccontextmanager
async def serving(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    served: list[asyncio.Protocol] = []

    def serve() -> asyncio.Protocol:
        served.append(protocol())
        return served[-1]

    server = await asyncio.get_running_loop().create_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for one in served:
            one._transport.abort()
        for _ in range(3):  # both ends of each connection hear of it
            await asyncio.sleep(0)


@pytest.fixture
def counts() -> Counts:
    counts = Counts()
    vars(counts).update(requests=0, lines=0, bytes=0)
    return counts


async def test_every_connection_of_a_closed_loop_sends_and_is_counted(counts: Counts):
    made = bodies(10, NDJSON, different=4)
    async with serving(lambda: Sink(counts, 0)) as port:
        found = await own_closed_loop(port, made, NDJSON, connections=4, seconds=0)
    assert found.requests == counts.requests == 4
    assert counts.lines == 40
    assert counts.bytes == sum(map(len, made))
    assert 0 < found.p50 <= found.p99


async def test_an_answer_other_than_200_is_not_measured_as_if_it_were_one():
    refusal = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
    async with serving(lambda: Piecemeal(refusal)) as port:
        with pytest.raises(RuntimeError, match="429"):
            await own_closed_loop(port, [b"{}"], JSON, connections=1, seconds=0)


async def test_an_answer_in_pieces_is_one_answer():
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"
    async with serving(lambda: Piecemeal(answer)) as port:
        client = await Client.open(port)
        assert [await client.send(post(b"{}")) for _ in range(3)] == [200, 200, 200]
        client.close()


async def test_a_server_that_goes_away_ends_the_wait(counts: Counts):
    async with serving(lambda: Sink(counts, None)) as port:
        client = await Client.open(port)
        answer = asyncio.create_task(client.send(post(b"{}")))
        await asyncio.sleep(0)
        client.close()
        with pytest.raises(ConnectionResetError):
            await answer


async def test_an_open_loop_sends_each_request_once(counts: Counts):
    requests = [post(b"%d" % number) for number in range(20)]
    async with serving(lambda: Sink(counts, 0)) as port:
        found = await open_loop(port, requests, per_second=10_000, connections=3)
    assert len(found.values) == counts.requests == 20
    assert counts.bytes == 10 + 2 * 10
    assert min(found.values) > 0


async def test_filling_sends_as_often_as_asked_whatever_the_connections(counts: Counts):
    async with serving(lambda: Sink(counts, 0)) as port:
        await fill(port, [post(b"a"), post(b"bb")], times=5, connections=2)
    assert (counts.requests, counts.bytes) == (5, 7)


def test_the_slowest_answers_are_in_the_quantiles():
    found = Latencies(tuple(map(float, reversed(range(100)))))
    assert (found.quantile(0.5), found.quantile(0.99), found.most) == (50.0, 99.0, 99.0)
