"""What the emulator shows below `/_/`, and its life."""

from typing import Any

import aiohttp
import pydantic
import pytest
from emulator_client import Connect

from forebay.sinks.powerbi.emulator import Emulator, EmulatorOptions


async def test_tables_are_listed_with_their_rows(connect: Connect):
    client = await connect()
    await client.post(dataset="d", table="t")
    await client.push(b"[{},{}]", dataset="e")
    assert (await client.ask("GET", "/_/tables")).body == {
        "tables": [
            {"dataset": "d", "table": "t", "rows": 1},
            {"dataset": "e", "table": "RealTimeData", "rows": 2},
        ]
    }


async def test_rows_are_shown_with_the_spelling_that_came(connect: Connect):
    client = await connect()
    await client.post(b'[{"n": 1.50},{"n":1e2}]')
    async with client.session.get(client.emulator.url + "/_/rows?dataset=d&table=t") as response:
        assert response.content_type == "application/json"
        assert await response.read() == (
            b'{"dataset":"d","table":"t","count":2,"rows":[{"n": 1.50},{"n":1e2}]}'
        )


async def test_rows_come_in_pages(connect: Connect):
    client = await connect()
    await client.post(b"[" + b",".join(b'{"n":%d}' % n for n in range(9)) + b"]")
    page = (await client.ask("GET", "/_/rows?dataset=d&table=t&offset=3&limit=2")).body
    assert page["rows"] == [{"n": 3}, {"n": 4}]
    assert page["count"] == 9


async def test_the_only_dataset_and_table_need_no_name(connect: Connect):
    client = await connect()
    assert (await client.ask("GET", "/_/rows")).body["rows"] == []
    await client.push(b'[{"a":1}]')
    assert (await client.ask("GET", "/_/rows")).body["rows"] == [{"a": 1}]
    await client.post(b'[{"a":2}]')
    assert (await client.ask("GET", "/_/rows")).body["table"] == "RealTimeData"
    await client.push(dataset="other")
    answer = await client.ask("GET", "/_/rows")
    assert (answer.status, answer.body["error"]) == (
        400,
        "say which dataset: ?dataset= one of ['d', 'other']",
    )


async def test_looking_at_what_is_not_there_makes_nothing(connect: Connect):
    client = await connect()
    assert (await client.ask("GET", "/_/rows?dataset=x&table=y")).body["rows"] == []
    assert (await client.ask("GET", "/_/tables")).body == {"tables": []}
    assert client.emulator.rows("x") == []


@pytest.mark.parametrize("query", ["limit=ten", "offset=-1"])
async def test_a_page_that_makes_no_sense_is_refused(connect: Connect, query: str):
    client = await connect()
    answer = await client.ask("GET", f"/_/rows?{query}")
    assert (answer.status, answer.body["error"][:5]) == (400, query[:5])


async def test_requests_are_counted(connect: Connect):
    client = await connect(rows_per_request=2)
    await client.post(b"[{},{}]")
    await client.post(b"[{},{},{}]")
    await client.push(b"x")
    client.emulator.fault("status", status=429, count=1)
    await client.post()
    counted = (await client.ask("GET", "/_/requests")).body
    assert counted == {
        "requests": 5,
        "row_requests": 4,
        "token_requests": 1,
        "by_status": {"200": 2, "413": 1, "400": 1, "429": 1},
        "throttled": 1,
        "unanswered": 0,
        "under_way": 0,
        "max_pending": 1,
        "rows_stored": 2,
        "rows_refused": 0,
        "rows_repeated": 0,
        "max_rows_per_request": 3,
        "max_bytes_per_request": 20,
        "bytes_received": 38,
    }


async def test_a_reset_forgets_rows_windows_and_counts_but_no_token(connect: Connect):
    client = await connect(requests_per_minute=1, datasets={"known": {"t": None}})
    await client.post(dataset="known")
    await client.post(dataset="other")
    assert (await client.ask("DELETE", "/_/rows")).status == 200
    assert (await client.ask("GET", "/_/tables")).body == {
        "tables": [{"dataset": "known", "table": "t", "rows": 0}]
    }
    assert client.emulator.requests.requests == 0
    assert (await client.post(dataset="known")).status == 200


async def test_faults_are_asked_for_and_cleared_over_http(connect: Connect):
    client = await connect()
    asked = {"kind": "status", "status": 503, "retry_after": 5, "count": 2}
    assert (await client.ask("POST", "/_/faults", json=asked)).status == 201
    assert (await client.post()).headers["Retry-After"] == "5"
    assert (await client.ask("GET", "/_/faults")).body == {"faults": [asked | {"count": 1}]}
    assert (await client.ask("DELETE", "/_/faults")).status == 200
    assert (await client.post()).status == 200


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "Invalid JSON"),
        (b'{"kind":"slow"}', "a fault of kind slow needs 'seconds'"),
        (b'{"kind":"hang","cuont":1}', "cuont: Extra inputs are not permitted"),
    ],
)
async def test_a_fault_that_makes_no_sense_is_answered_with_why(
    connect: Connect, body: bytes, complaint: str
):
    client = await connect()
    answer = await client.ask("POST", "/_/faults", data=body)
    assert answer.status == 400
    assert complaint in answer.body["error"]


async def test_what_it_holds_outlives_a_restart(connect: Connect):
    client = await connect()
    emulator = client.emulator
    await client.post()
    with pytest.raises(RuntimeError, match="listens already"):
        await emulator.start()
    await emulator.close()
    with pytest.raises(RuntimeError, match="not started"):
        _ = emulator.url
    await emulator.start()
    assert (await client.post()).status == 200
    assert len(emulator.rows("d", "t")) == 2


async def test_an_address_that_is_taken_is_an_os_error_and_leaves_nothing_open(connect: Connect):
    client = await connect()
    port = int(client.emulator.url.rpartition(":")[2])
    second = Emulator()
    with pytest.raises(OSError, match="address already in use"):
        await second.start(port=port)
    assert repr(second) == "Emulator(not started, World([], Faults()))"


async def test_a_push_url_quotes_what_a_url_cannot_carry():
    options = EmulatorOptions(push_key="k+/=&", tenant="contoso")
    async with Emulator(options) as emulator, aiohttp.ClientSession() as session:
        async with session.post(emulator.push_url("my data"), data=b"[{}]") as response:
            assert response.status == 200
        assert emulator.rows("my data") == [b"{}"]


def test_secrets_appear_in_no_repr():
    options = EmulatorOptions(client_secret="s3cr3t", push_key="k3y", datasets={"d": {"t": None}})
    shown = repr(options) + repr(Emulator(options))
    assert "s3cr3t" not in shown
    assert "k3y" not in shown


@pytest.mark.parametrize(
    "options",
    [{"pendign": 1}, {"minute": "0s"}, {"datasets": {"d": {"t": {"c": "Blob"}}}}, {"pending": -1}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]):
    with pytest.raises(pydantic.ValidationError):
        EmulatorOptions(**options)
