"""From the wire into the real log and out of it again."""

import gzip
from collections.abc import AsyncIterator

import pytest
from ingest_kit import LINES, Kitchen, Served, answers, request

from forebay.buffer.store import Store


@pytest.fixture
async def store(kitchen: Kitchen) -> AsyncIterator[Store]:
    async with kitchen.store() as store:
        yield store


async def stored(store: Store) -> list[tuple[int, str, bytes]]:
    reading = await store.reader("sink").read(1000, 1_000_000)
    return [
        (part.first_seq + index, part.stream, event)
        for part in reading.slices
        for index, event in enumerate(part.payload.split(b"\n"))
    ]


async def test_an_event_is_stored_otherwise_than_sent(
    listener: str, kitchen: Kitchen, store: Store
) -> None:
    async with kitchen.served(store) as served:
        array = b'[\n{"n": 1.10, "b": 1,\r\n "a": 1e5},\n{"n": 12345678901234567890}\n]'
        lines = gzip.compress(b'{"x": "\xc3\xa9"}\r\n\n{"x": "\\u00e9"}\n')
        data = request(array) + request(
            lines,
            b"/v1/events/bookings.eu",
            content_type=LINES,
            headers=(b"Content-Encoding: gzip",),
        )
        found = answers(await served.talk(data, listener))
        assert [answer.body["status"] for answer in found] == ["success", "success"]
        assert sorted(seqs(found)) == [1, 2, 3, 4]
        by_stream: dict[str, list[bytes]] = {}
        for _, stream, event in await stored(store):
            by_stream.setdefault(stream, []).append(event)
        assert by_stream == {
            "bookings": [b'{"n": 1.10, "b": 1, "a": 1e5}', b'{"n": 12345678901234567890}'],
            "bookings.eu": [b'{"x": "\xc3\xa9"}', b'{"x": "\\u00e9"}'],
        }


def seqs(found: list[object]) -> list[int]:
    return [
        seq
        for answer in found
        for seq in range(answer.body["first_seq"], answer.body["last_seq"] + 1)
    ]


async def test_the_seqs_of_an_answer_are_not_those_of_its_events(
    kitchen: Kitchen, store: Store
) -> None:
    async with kitchen.served(store) as served:
        data = [request(b'{"n": %d}' % number) for number in range(200)]
        found = answers(await served.talk(b"".join(data)))
        told = {seq: b'{"n": %d}' % number for number, seq in enumerate(seqs(found))}
        assert {seq: event for seq, _, event in await stored(store)} == told


async def test_a_closed_log_hangs_the_client(kitchen: Kitchen, store: Store) -> None:
    async with kitchen.served(store) as served:
        await store.close()
        answer = await served.ask(request())
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_a_stream_of_no_sink_is_stored(served_store: Served) -> None:
    answer = await served_store.ask(request(path=b"/v1/events/other"))
    assert answer.status == 404
    assert "subscribes" in answer.body["error"]


@pytest.fixture
async def served_store(kitchen: Kitchen, store: Store) -> AsyncIterator[Served]:
    async with kitchen.served(store) as served:
        yield served
