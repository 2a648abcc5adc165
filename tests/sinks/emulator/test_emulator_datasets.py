"""Datasets and tables: made on use, declared, created, refused."""

from typing import Any

import pytest
from emulator_client import Connect

CREATED = {
    "name": "Sales",
    "defaultMode": "Push",
    "tables": [{"name": "Bookings", "columns": [{"name": "id", "dataType": "Int64"}]}],
}


async def test_an_unknown_dataset_is_made_on_use(connect: Connect):
    client = await connect()
    answer = await client.ask("GET", "/v1.0/myorg/groups/w/datasets/new")
    assert (answer.status, answer.body["id"]) == (200, "new")
    assert answer.body["addRowsAPIEnabled"] is True


@pytest.mark.parametrize(
    ("dataset", "table", "status"), [("d", "t", 200), ("d", "other", 404), ("other", "t", 404)]
)
async def test_strict_datasets_know_only_what_was_declared(
    connect: Connect, dataset: str, table: str, status: int
):
    client = await connect(strict_datasets=True, datasets={"d": {"t": None}})
    answer = await client.post(dataset=dataset, table=table)
    assert answer.status == status
    if status == 404:
        assert answer.code == "ItemNotFound"


async def test_a_strict_push_url_needs_its_dataset(connect: Connect):
    client = await connect(strict_datasets=True)
    answer = await client.push(dataset="xxx")
    assert (answer.status, answer.body["error"]["message"]) == (
        404,
        "Dataset [xxx] is not Push API dataset.",
    )


async def test_a_created_dataset_takes_rows_of_its_schema(connect: Connect):
    client = await connect(strict_datasets=True)
    created = await client.ask("POST", "/v1.0/myorg/groups/w/datasets", json=CREATED)
    assert (created.status, created.body["name"]) == (201, "Sales")
    dataset = created.body["id"]
    tables = await client.ask("GET", f"/v1.0/myorg/groups/w/datasets/{dataset}/tables")
    assert tables.body == {"value": [{"name": "Bookings"}]}
    assert (await client.post(b'[{"id":1}]', dataset, "Bookings")).status == 200
    assert (await client.post(b'[{"id":"1"}]', dataset, "Bookings")).status == 400


async def test_a_dataset_created_with_basic_fifo_forgets_its_oldest(connect: Connect):
    client = await connect(fifo_rows=1, fifo_slack=0)
    path = "/v1.0/myorg/datasets?defaultRetentionPolicy=basicFIFO"
    created = await client.ask("POST", path, json=CREATED)
    assert created.body["defaultRetentionPolicy"] == "basicFIFO"
    await client.post(b'[{"id":1},{"id":2}]', created.body["id"], "Bookings")
    assert client.emulator.rows(created.body["id"], "Bookings") == [b'{"id":2}']


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?defaultRetentionPolicy=LIFO", CREATED),
        ("", {}),
        ("", {"name": "", "tables": []}),
        ("", CREATED | {"tables": [{"name": "t", "columns": [{"name": "c", "dataType": "Blob"}]}]}),
        ("", CREATED | {"tables": [{"name": "t", "columns": [
            {"name": f"c{n}", "dataType": "String"} for n in range(76)]}]}),
    ],
)  # fmt: skip
async def test_a_dataset_that_is_not_as_documented_is_refused(
    connect: Connect, query: str, body: dict[str, Any]
):
    client = await connect()
    answer = await client.ask("POST", "/v1.0/myorg/datasets" + query, json=body)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_creation_after_its_end_fails_with_the_code_that_was_seen(connect: Connect):
    client = await connect(allow_creation=False)
    answer = await client.ask("POST", "/v1.0/myorg/datasets", json=CREATED)
    assert (answer.status, answer.code) == (403, "FeatureDeprecatedError")
    assert answer.body["error"]["pbi.error"]["details"][0]["detail"]["value"]


async def test_a_new_schema_holds_for_the_rows_to_come(connect: Connect):
    client = await connect()
    await client.post(b'[{"a":"x"}]')
    table = {"name": "t", "columns": [{"name": "a", "dataType": "Int64"}]}
    assert (await client.ask("PUT", "/v1.0/myorg/datasets/d/tables/t", json=table)).status == 200
    assert (await client.post(b'[{"a":"x"}]')).status == 400
    assert (await client.post(b'[{"a":1}]')).status == 200
    assert client.emulator.rows("d", "t") == [b'{"a":"x"}', b'{"a":1}']


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1.0/myorg/datasets"),
        ("GET", "/v1.0/myorg/datasets/d"),
        ("GET", "/v1.0/myorg/datasets/d/tables"),
        ("PUT", "/v1.0/myorg/datasets/d/tables/t"),
        ("GET", "/v1.0/myorg/datasets/d/tables/t/sequenceNumbers"),
    ],
)
async def test_nothing_of_the_api_works_without_a_token(connect: Connect, method: str, path: str):
    client = await connect()
    client.token = ""
    assert (await client.ask(method, path)).status == 401


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1.0/nowhere", 404, "NotFound"),
     ("GET", "/v1.0/myorg/datasets/d/tables/t/rows", 405, "MethodNotAllowed")],
)  # fmt: skip
async def test_unknown_paths_and_methods_are_answered_in_json(
    connect: Connect, method: str, path: str, status: int, code: str
):
    client = await connect()
    answer = await client.ask(method, path)
    assert (answer.status, answer.code) == (status, code)
