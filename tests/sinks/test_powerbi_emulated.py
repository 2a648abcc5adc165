"""The sink against the emulator, which knows Microsoft's documents and none of the sink's code."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sink_helpers import Clock, batch, opened

from forebay.sinks import Answer, Batch, Context, Hold, Part, Rejected, Retry, TooLarge
from forebay.sinks.powerbi import PowerBIOptions, PowerBISink
from forebay.sinks.powerbi.emulator import Emulator, EmulatorOptions

SCHEMA = {
    "Id": "Int64", "Amount": "Double", "Price": "Decimal", "Paid": "Boolean", "At": "Datetime",
    "Note": "String",
}  # fmt: skip
SECRET = "s3cret+of/ours=="


@pytest.fixture
async def emulator(clock: Clock) -> AsyncIterator[Emulator]:
    options = EmulatorOptions.model_validate(
        {
            "datasets": {"sales": {"Bookings": SCHEMA}},
            "strict_datasets": True,
            "client_secret": SECRET,
        }
    )
    async with Emulator(options, clock=clock.monotonic) as running:
        yield running


def sink(emulator: Emulator, context: Context, secret: str = SECRET, **options: Any) -> PowerBISink:
    given = {
        "dataset_id": "sales",
        "table": "Bookings",
        "auth": {"tenant_id": "contoso.com", "client_id": "c-1", "client_secret": secret},
        "api_url": emulator.url,
        "authority_url": emulator.url,
    }
    return PowerBISink(PowerBIOptions.model_validate({**given, **options}), context)


def rows(emulator: Emulator) -> list[dict[str, Any]]:
    return [json.loads(row) for row in emulator.rows("sales", "Bookings")]


async def answer_of(powerbi: PowerBISink, what: Batch) -> Answer:
    async with opened(powerbi):
        with pytest.raises(Answer) as raised:
            await powerbi.send(what)
    return raised.value


async def test_rows_pass_through_byte_for_byte(emulator: Emulator, context: Context):
    async with opened(sink(emulator, context)) as powerbi:
        await powerbi.send(batch(b'{"Id":1,"Amount":1.10}', b'{"Amount":2e0,"Id":2}'))
    assert emulator.rows("sales", "Bookings") == [
        b'{"Id":1,"Amount":1.10}',
        b'{"Amount":2e0,"Id":2}',
    ]


async def test_a_push_url_takes_rows(context: Context):
    async with Emulator() as emulator:
        options = PowerBIOptions(push_url=emulator.push_url("live"))
        async with opened(PowerBISink(options, context)) as powerbi:
            await powerbi.send(batch({"a": 1}))
        assert emulator.rows("live") == [b'{"a": 1}']
        assert emulator.requests.token_requests == 0


async def test_a_mapping_sends_what_a_table_with_types_takes(emulator: Emulator, context: Context):
    columns = {
        "Id": "@seq",
        "Amount": {"from": "total.amount", "type": "Double"},
        "Price": {"from": "total.price", "type": "Decimal"},
        "Paid": {"from": "paid", "type": "Boolean"},
        "At": {"from": "at", "type": "Datetime"},
        "Note": {"from": "note", "type": "String"},
    }
    events = [
        {"total": {"amount": "1.5", "price": 0.12345}, "paid": "true", "at": "2026-11-22T10:00",
         "note": {"nested": [1, 2]}},
        {"total": {"amount": 3}, "at": "2026-11-22T10:00:00+02:00", "note": 7},
    ]  # fmt: skip
    async with opened(sink(emulator, context, columns=columns)) as powerbi:
        await powerbi.send(batch(*events, first=41))
    assert rows(emulator) == [
        {"Id": 41, "Amount": 1.5, "Price": 0.1234, "Paid": True, "At": "2026-11-22T10:00:00Z",
         "Note": '{"nested":[1,2]}'},
        {"Id": 42, "Amount": 3, "Price": None, "Paid": None, "At": "2026-11-22T08:00:00Z",
         "Note": "7"},
    ]  # fmt: skip


async def test_the_largest_batch_of_the_limits_is_taken_and_one_more_row_is_not(
    emulator: Emulator, context: Context
):
    powerbi = sink(emulator, context)
    most = powerbi.limits.events
    assert most is not None
    line = b"\n".join([b'{"Id":1}'] * (most + 1))
    too_many = Batch("i/s", (Part("s", 1, most + 1, 0.0, line),))
    async with opened(powerbi):
        await powerbi.send(too_many.cut(0, most))
        assert emulator.requests.rows_stored == most
        with pytest.raises(TooLarge):
            await powerbi.send(too_many)


async def test_a_body_as_large_as_the_limits_is_taken(emulator: Emulator, context: Context):
    powerbi = sink(emulator, context)
    most = powerbi.limits.nbytes
    assert most is not None
    line = b'{"Note":"' + b"x" * 3900 + b'"}'
    count = (most + 1) // (len(line) + 1)
    what = batch(*[line] * count)
    assert most - len(line) <= what.nbytes <= most
    async with opened(powerbi):
        await powerbi.send(what)
    assert emulator.requests.rows_stored == count


async def test_an_expired_token_is_renewed_and_no_row_is_sent_twice(
    emulator: Emulator, context: Context
):
    async with opened(sink(emulator, context)) as powerbi:
        await powerbi.send(batch({"Id": 1}))
        emulator.fault("expired_token")
        await powerbi.send(batch({"Id": 2}))
    assert [row["Id"] for row in rows(emulator)] == [1, 2]
    assert emulator.requests.token_requests == 2


async def test_tokens_are_renewed_in_time_for_a_day(
    emulator: Emulator, context: Context, clock: Clock
):
    async with opened(sink(emulator, context)) as powerbi:
        for hour in range(25):
            await powerbi.send(batch({"Id": hour}))
            clock.tick(3600)
    assert emulator.requests.by_status[401] == 0
    assert emulator.requests.by_status[403] == 0


async def test_wrong_credentials_are_told_with_the_text_of_entra(
    emulator: Emulator, context: Context
):
    answer = await answer_of(sink(emulator, context, secret="not-the-right-one"), batch({"Id": 1}))
    assert isinstance(answer, Hold)
    assert "AADSTS" in answer.reason
    assert "not-the-right-one" not in answer.reason
    assert emulator.requests.row_requests == 0


async def test_a_wrong_table_is_held_and_keeps_everything(emulator: Emulator, context: Context):
    answer = await answer_of(sink(emulator, context, table="Missing"), batch({"Id": 1}))
    assert isinstance(answer, Hold)
    assert answer.status == 404


async def test_poison_is_told_with_the_text_of_the_service(emulator: Emulator, context: Context):
    emulator.fault("poison", match={"Id": 13})
    answer = await answer_of(sink(emulator, context), batch({"Id": 1}, {"Id": 13}))
    assert isinstance(answer, Rejected)
    assert answer.rows is None
    assert len(answer.reason) > len("HTTP 400: ")
    assert rows(emulator) == []


async def test_throttling_is_obeyed_to_the_second(emulator: Emulator, context: Context):
    emulator.fault("status", status=429, retry_after=3599, count=1)
    answer = await answer_of(sink(emulator, context), batch({"Id": 1}))
    assert isinstance(answer, Retry)
    assert (answer.after, answer.throttled, answer.ambiguous) == (3599.0, True, False)


@pytest.mark.parametrize(("fault", "stored"), [("drop_answer", 1), ("reset", 0)])
async def test_an_answer_that_never_came_is_in_doubt_and_never_resent_by_us(
    fault: str, stored: int, emulator: Emulator, context: Context
):
    emulator.fault(fault, count=1)
    answer = await answer_of(sink(emulator, context), batch({"Id": 1}))
    assert isinstance(answer, Retry)
    assert answer.ambiguous
    assert len(rows(emulator)) == stored
    assert emulator.requests.row_requests == 1


async def test_an_outage_of_the_token_endpoint_is_not_in_doubt(
    emulator: Emulator, context: Context
):
    emulator.fault("status", endpoint="token", status=503, retry_after=5)
    answer = await answer_of(sink(emulator, context), batch({"Id": 1}))
    assert isinstance(answer, Retry)
    assert (answer.after, answer.ambiguous) == (5.0, False)


async def test_a_hung_send_can_be_cancelled_and_the_next_one_passes(
    emulator: Emulator, context: Context
):
    emulator.fault("hang", count=1)
    async with opened(sink(emulator, context)) as powerbi:
        sending = asyncio.ensure_future(powerbi.send(batch({"Id": 1})))
        await emulator.until(lambda: emulator.requests.row_requests == 1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await powerbi.send(batch({"Id": 1}))
    assert rows(emulator) == [{"Id": 1}]
