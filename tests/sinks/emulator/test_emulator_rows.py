"""POSTs of rows: what is stored, what is refused, and with which words."""

import gzip

import pytest
from emulator_client import Answer, Client, Connect


def details(answer: Answer):
    assert (answer.status, answer.code) == (400, "BadRequest")
    return [(found["target"], found["message"]) for found in answer.body["error"]["details"]]


async def test_rows_are_kept_byte_for_byte(connect: Connect):
    client = await connect()
    rows = [b'{"n": 1.50, "big": 12345678901234567890123}', b'{"z":1,"a":"\\u00e9"}', b"{}"]
    answer = await client.post(b"[" + b" ,\n".join(rows) + b"]")
    assert (answer.status, answer.body) == (200, None)
    assert client.emulator.rows("d", "t") == rows


async def test_groups_and_my_workspace_reach_the_same_dataset(connect: Connect):
    client = await connect()
    await client.post(b'[{"a":1}]')
    path = "/v1.0/myorg/datasets/d/tables/t/rows"
    assert (await client.ask("POST", path, data=b'{"rows":[{"a":2}]}')).status == 200
    assert client.emulator.rows("d", "t") == [b'{"a":1}', b'{"a":2}']


async def test_a_quoted_table_name_is_the_table(connect: Connect):
    client = await connect()
    await client.post(table="Sales%20%2F%20EU")
    assert client.emulator.rows("d", "Sales / EU") == [b'{"a":1}']


async def test_push_url_takes_an_array_into_real_time_data(connect: Connect):
    client = await connect()
    client.token = ""
    assert (await client.push(b'[{"a": 1.0}]')).status == 200
    assert client.emulator.rows("d") == [b'{"a": 1.0}']


@pytest.mark.parametrize("body", [b'{"a":1}', b'{"rows":[{"a":1}]}', b"", b"[{]", b'"a"'])
async def test_push_url_refuses_what_is_no_array(connect: Connect, body: bytes):
    client = await connect()
    answer = await client.push(body)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    assert client.emulator.rows("d") == []


@pytest.mark.parametrize("query", ["", "?key=", "?key=wrong"])
async def test_push_url_with_a_wrong_key_stores_nothing(connect: Connect, query: str):
    client = await connect(push_key="right")
    answer = await client.ask("POST", "/beta/t/datasets/d/rows" + query, data=b'[{"a":1}]')
    assert answer.status == 403
    assert "right" not in str(answer.body)
    assert (await client.push()).status == 200
    assert client.emulator.requests.rows_stored == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"row":[]}', b'{"rows":1}', b'{"rows":[{]}', b"\xff"]
)
async def test_a_body_that_is_not_rows_is_an_invalid_request(connect: Connect, body: bytes):
    client = await connect()
    answer = await client.ask("POST", "/v1.0/myorg/datasets/d/tables/t/rows", data=body)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


@pytest.mark.parametrize(
    ("row", "target", "message"),
    [
        (b'{"b":{"c":1}}', "rows[1].b", "Nested"),
        (b'{"b":[]}', "rows[1].b", "Nested"),
        (b'{"b":"12345"}', "rows[1].b", "A string has at most 4 characters"),
        (b'{"b":1,"c":2,"d":3}', "rows[1]", "A row has at most 2 columns"),
        (b"1", "rows[1]", "A row must be a JSON object"),
        (b'{"b":1e999}', "rows[1]", "The row cannot be read"),
        (b'{"b":"\xff"}', "rows[1]", "The row cannot be read"),
    ],
)
async def test_one_bad_row_is_named_and_fails_its_post(
    connect: Connect, row: bytes, target: str, message: str
):
    client = await connect(string_length=4, columns=2)
    [found] = details(await client.post(b'[{"a":"1234"},' + row + b"]"))
    assert found[0] == target
    assert found[1].startswith(message)
    assert client.emulator.rows("d", "t") == []
    assert client.emulator.requests.rows_refused == 1


async def test_many_bad_rows_do_not_make_an_endless_answer(connect: Connect):
    client = await connect()
    found = details(await client.post(b"[" + b",".join([b"0"] * 1000) + b"]"))
    assert len(found) == 10
    assert client.emulator.requests.rows_refused == 1000


@pytest.mark.parametrize(
    ("bad_row", "status", "stored"),
    [("refuse_all", 400, []), ("store_good", 400, [b'{"a":1}', b'{"c": 3.0}']),
     ("skip", 200, [b'{"a":1}', b'{"c": 3.0}'])],
)  # fmt: skip
async def test_what_a_bad_row_does_to_its_neighbours_is_a_switch(
    connect: Connect, bad_row: str, status: int, stored: list[bytes]
):
    client = await connect(bad_row=bad_row)
    assert (await client.post(b'[{"a":1}, {"b":[2]}, {"c": 3.0}]')).status == status
    assert client.emulator.rows("d", "t") == stored


async def test_a_long_string_is_cut_where_that_is_asked_and_nothing_else_changes(connect: Connect):
    client = await connect(string_length=3, long_string="cut")
    await client.post('[{"n": 1.50,"s":"äöüß"},{"s": "abc"}]'.encode())
    assert client.emulator.rows("d", "t") == ['{"n":1.50,"s":"äöü"}'.encode(), b'{"s": "abc"}']


async def test_rows_are_not_looked_at_where_that_is_asked(connect: Connect):
    client = await connect(check_rows=False)
    assert (await client.post(b'[{"a":[1]}, 7]')).status == 200
    assert client.emulator.rows("d", "t") == [b'{"a":[1]}', b"7"]
    assert (await client.post(b"[{]")).status == 400


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("Int64", [b"1", b"-9223372036854775807", b"null"],
         [b"1.0", b"true", b'"1"', b"9223372036854775807", b"-9223372036854775808"]),
        ("Double", [b"1", b"1.5"], [b'"1"', b"false"]),
        ("bool", [b"true"], [b"0", b'"true"']),
        ("DateTime", [b'"2026-11-22T10:00:00Z"', b'"2026-11-22"'], [b'"soon"', b"1"]),
        ("string", [b'""'], [b"1"]),
        ("Decimal", [b"1.25"], [b"true"]),
    ],
)  # fmt: skip
async def test_a_value_of_the_wrong_type_is_refused(
    connect: Connect, column: str, good: list[bytes], bad: list[bytes]
):
    client = await connect(datasets={"d": {"t": {"c": column}}})
    for value in good:
        assert (await client.post(b'[{"c":' + value + b"}]")).status == 200
    for value in bad:
        [(target, message)] = details(await client.post(b'[{"c":' + value + b"}]"))
        assert target == "rows[0].c"
        assert message.startswith("The value is not of type ")
    assert len(client.emulator.rows("d", "t")) == len(good)


async def test_a_column_that_the_schema_does_not_name_is_a_switch(connect: Connect):
    schema = {"datasets": {"d": {"t": {"c": "Int64"}}}}
    strict = await connect(**schema)
    assert details(await strict.post(b'[{"x":1}]')) == [
        ("rows[0].x", "The table has no such column")
    ]
    lenient = await connect(**schema, unknown_column="ignore")
    assert (await lenient.post(b'[{"x":1}]')).status == 200


async def test_delete_wipes_the_table_and_only_it(connect: Connect):
    client = await connect()
    await client.post(table="t")
    await client.post(table="other")
    path = "/v1.0/myorg/datasets/d/tables/t/rows"
    assert (await client.ask("DELETE", path)).status == 200
    assert client.emulator.rows("d", "t") == []
    assert len(client.emulator.rows("d", "other")) == 1
    client.token = ""
    assert (await client.ask("DELETE", path)).status == 401


async def test_a_compressed_body_is_stored_decompressed(connect: Connect):
    client = await connect()
    path = "/v1.0/myorg/datasets/d/tables/t/rows"
    body = gzip.compress(b'{"rows":[{"a":1}]}')
    answer = await client.ask("POST", path, data=body, headers={"Content-Encoding": "gzip"})
    assert answer.status == 200
    assert client.emulator.rows("d", "t") == [b'{"a":1}']


async def post_numbers(client: Client, *numbers: int):
    return [
        (
            await client.post(
                b'[{"n":%d}]' % number,
                headers={"X-PowerBI-PushData-SequenceNumber": str(number)},
            )
        ).status
        for number in numbers
    ]


async def read_back(client: Client):
    path = "/v1.0/myorg/datasets/d/tables/t/sequenceNumbers"
    return (await client.ask("GET", path)).body["value"]


@pytest.mark.parametrize(
    ("mode", "statuses", "rows", "last"),
    [
        ("unsupported", [200, 200, 200, 200], [5, 5, 3, 9], None),
        ("ignore", [200, 200, 200, 200], [5, 5, 3, 9], 9),
        ("reject", [200, 400, 400, 200], [5, 9], 9),
        ("deduplicate", [200, 200, 200, 200], [5, 9], 9),
    ],
)
async def test_what_a_repeated_sequence_number_does_is_a_switch(
    connect: Connect, mode: str, statuses: list[int], rows: list[int], last: int | None
):
    client = await connect(sequence=mode)
    assert await read_back(client) == []
    assert await post_numbers(client, 5, 5, 3, 9) == statuses
    assert client.emulator.rows("d", "t") == [b'{"n":%d}' % row for row in rows]
    found = [] if last is None else [{"clientId": "app", "sequenceNumber": last}]
    assert await read_back(client) == found
    assert client.emulator.requests.rows_repeated == (2 if mode == "deduplicate" else 0)


async def test_sequence_numbers_are_each_clients_own(connect: Connect):
    client = await connect(sequence="deduplicate")
    await post_numbers(client, 5)
    await client.sign_in(client_id="other")
    await post_numbers(client, 5)
    assert len(client.emulator.rows("d", "t")) == 2
    assert [found["clientId"] for found in await read_back(client)] == ["app", "other"]


async def test_a_number_is_not_remembered_for_rows_that_were_refused(connect: Connect):
    client = await connect(sequence="deduplicate")
    header = {"X-PowerBI-PushData-SequenceNumber": "5"}
    assert (await client.post(b'[{"a":[]}]', headers=header)).status == 400
    assert await read_back(client) == []
    assert (await client.post(headers={"X-PowerBI-PushData-SequenceNumber": "-1"})).status == 400
