"""Faults on request, over the wire."""

import asyncio
from typing import Any

import aiohttp
import pydantic
import pytest
from emulator_client import Connect, Sleeper

from forebay.sinks.powerbi.emulator import Fault

GONE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


async def test_a_status_fault_answers_as_scripted_and_stores_nothing(connect: Connect):
    client = await connect()
    client.emulator.fault("status", status=503, retry_after=5, body={"error": "x"}, count=2)
    for _ in range(2):
        answer = await client.post()
        assert (answer.status, answer.body, answer.headers["Retry-After"]) == (
            503,
            {"error": "x"},
            "5",
        )
    assert (await client.post()).status == 200
    assert len(client.emulator.rows("d", "t")) == 1


async def test_a_status_fault_without_body_or_with_text_is_sent_so(connect: Connect):
    client = await connect()
    client.emulator.fault("status", status=500, count=1)
    client.emulator.fault("status", status=502, body="<html>Bad gateway", count=1)
    assert (await client.push()).body is None
    async with client.session.post(client.emulator.push_url(), data=b"[]") as response:
        assert (response.status, await response.text()) == (502, "<html>Bad gateway")
        assert "Retry-After" not in response.headers


async def test_faults_are_met_in_the_order_they_were_asked_for(connect: Connect):
    client = await connect()
    for status in (500, 502, 504):
        client.emulator.fault("status", status=status, count=1)
    assert [(await client.post()).status for _ in range(4)] == [500, 502, 504, 200]


async def test_a_fault_keeps_to_its_dataset_and_table(connect: Connect):
    client = await connect()
    client.emulator.fault("status", status=500, dataset="d")
    client.emulator.fault("status", status=502, dataset="e", table="t")
    client.emulator.fault("status", status=504, dataset="f", table="RealTimeData")
    assert (await client.post()).status == 500
    assert (await client.post(dataset="e")).status == 502
    assert (await client.post(dataset="e", table="other")).status == 200
    assert (await client.push(dataset="f")).status == 504
    assert (await client.post(dataset="f")).status == 200


async def test_a_fault_keeps_to_its_endpoint(connect: Connect):
    client = await connect()
    client.emulator.fault("status", status=500, endpoint="token", count=1)
    client.emulator.fault("status", status=502, endpoint="other", count=1)
    assert (await client.post()).status == 200
    assert (await client.sign_in()).status == 500
    assert (await client.ask("GET", "/v1.0/myorg/datasets/d")).status == 502
    assert (await client.sign_in()).status == 200


async def test_what_hangs_goes_on_when_the_faults_are_cleared(connect: Connect):
    client = await connect()
    emulator = client.emulator
    emulator.fault("hang")
    hung = client.start(client.post())
    await emulator.until(lambda: emulator.requests.under_way == 1)
    assert emulator.rows("d", "t") == []
    emulator.clear_faults()
    assert (await hung).status == 200
    assert emulator.rows("d", "t") == [b'{"a":1}']


async def test_what_hangs_does_not_keep_the_emulator_from_closing(connect: Connect):
    client = await connect()
    emulator = client.emulator
    emulator.fault("hang")
    hung = client.start(client.post())
    await emulator.until(lambda: emulator.requests.under_way == 1)
    await emulator.close()
    with pytest.raises(GONE):
        await hung
    assert emulator.rows("d", "t") == []
    assert emulator.requests.unanswered == 1


async def test_a_slow_answer_is_of_rows_already_stored(connect: Connect, sleeper: Sleeper):
    client = await connect()
    emulator = client.emulator
    emulator.fault("slow", seconds=40, count=1)
    slow = client.start(client.post())
    await emulator.until(lambda: emulator.requests.rows_stored == 1)
    assert not slow.done()
    sleeper.wake.set()
    assert (await slow).status == 200
    assert sleeper.asked == [40]


async def test_a_dropped_answer_is_of_rows_already_stored(connect: Connect):
    client = await connect()
    client.emulator.fault("drop_answer", count=1)
    with pytest.raises(GONE):
        await client.post()
    assert client.emulator.rows("d", "t") == [b'{"a":1}']
    assert client.emulator.requests.unanswered == 1
    assert (await client.post()).status == 200


async def test_a_reset_comes_before_anything_is_stored(connect: Connect):
    client = await connect()
    client.emulator.fault("reset", count=1)
    with pytest.raises((*GONE, ConnectionResetError)):
        await client.post(b"[" + b'{"a":1},' * 50_000 + b"{}]")
    assert client.emulator.rows("d", "t") == []
    assert client.emulator.requests.unanswered == 1
    assert (await client.post()).status == 200


async def test_a_reset_is_one_to_the_socket(connect: Connect):
    client = await connect()
    client.emulator.fault("reset", endpoint="token")
    host, port = client.emulator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /t/oauth2/v2.0/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.transport.abort()


async def test_expired_tokens_are_those_of_the_past(connect: Connect):
    client = await connect()
    client.emulator.fault("expired_token")
    answer = await client.post()
    assert (answer.status, answer.code) == (403, "TokenExpired")
    await client.sign_in()
    assert (await client.post()).status == 200


async def test_poison_is_named_and_its_neighbours_are_not(connect: Connect):
    client = await connect()
    client.emulator.fault("poison", match={"id": 7})
    answer = await client.post(b'[{"id":6},{"id":7.0,"x":null},{"id":"7"},{"x":7}]')
    assert (answer.status, answer.code) == (400, "BadRequest")
    [detail] = answer.body["error"]["details"]
    assert detail == {"message": "The value is refused", "target": "rows[1].id"}
    assert (await client.post(b'[{"id":6}]')).status == 200


async def test_poison_with_a_count_is_used_up_by_requests_that_carry_it(connect: Connect):
    client = await connect()
    client.emulator.fault("poison", match={"id": 7}, count=1)
    assert (await client.post(b'[{"id":6}]')).status == 200
    assert (await client.post(b'[{"id":7},{"id":7}]')).status == 400
    assert (await client.post(b'[{"id":7}]')).status == 200


async def test_poison_works_beside_other_faults(connect: Connect):
    client = await connect()
    client.emulator.fault("poison", match={"id": 7})
    client.emulator.fault("status", status=503, count=1)
    assert [(await client.post(b'[{"id":7}]')).status for _ in range(2)] == [503, 400]


async def test_a_hung_request_has_used_up_its_fault_only_once(connect: Connect):
    client = await connect()
    emulator = client.emulator
    emulator.fault("hang", count=1)
    hung = client.start(client.post())
    await emulator.until(lambda: emulator.requests.under_way == 1)
    assert (await client.post()).status == 200
    emulator.clear_faults()
    assert (await hung).status == 200


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"kind": "status"}, "needs 'status'"),
        ({"kind": "slow"}, "needs 'seconds'"),
        ({"kind": "poison"}, "needs 'match'"),
        ({"kind": "hang", "seconds": 1}, "takes no 'seconds'"),
        ({"kind": "reset", "status": 500}, "takes no 'status'"),
        ({"kind": "nonsense"}, "kind"),
        ({"kind": "hang", "count": 0}, "count"),
        ({"kind": "hang", "cuont": 1}, "cuont"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fields: dict[str, Any], complaint: str):
    with pytest.raises(pydantic.ValidationError, match=complaint):
        Fault.model_validate(fields)


async def test_a_slow_answer_does_not_keep_the_emulator_from_closing(connect: Connect):
    client = await connect()
    emulator = client.emulator
    emulator.fault("slow", seconds=3600)
    slow = client.start(client.post())
    await emulator.until(lambda: emulator.requests.rows_stored == 1)
    await emulator.close()
    with pytest.raises(GONE):
        await slow
    assert emulator.requests.under_way == 0
