"""Power BI's REST API, as far as push datasets go, and the push URLs.

Paths and shapes: Microsoft's REST reference, "Push Datasets". The sequence numbers are not in it;
they were documented once and are used by public clients.
"""

import uuid
from typing import Annotated, Any, TypeVar

import msgspec
from aiohttp import web

from forebay.sinks.powerbi.emulator import refusal
from forebay.sinks.powerbi.emulator.columns import ColumnType
from forebay.sinks.powerbi.emulator.inspection import unwrap
from forebay.sinks.powerbi.emulator.options import EmulatorOptions, Retention, Schema
from forebay.sinks.powerbi.emulator.posting import Numbered, admit, post
from forebay.sinks.powerbi.emulator.reply import reply
from forebay.sinks.powerbi.emulator.table import Table
from forebay.sinks.powerbi.emulator.world import PUSH_URL_TABLE, Model, World

_SEQUENCE_NUMBER = "X-PowerBI-PushData-SequenceNumber"
_ROOT = "/v1.0/{scope:myorg(?:/groups/[^/]+)?}/datasets"
_RETENTIONS = {"none": Retention.NONE, "basicfifo": Retention.FIFO}

_Name = Annotated[str, msgspec.Meta(min_length=1)]


class _Column(msgspec.Struct, rename="camel"):
    name: _Name
    data_type: str


class _TableBody(msgspec.Struct):
    columns: list[_Column]
    name: str = ""


class _DatasetBody(msgspec.Struct):
    name: _Name
    tables: list[_TableBody]


_Body = TypeVar("_Body", _TableBody, _DatasetBody)


class PowerBI:
    """The handlers, one a method."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.AbstractRouteDef]:
        table = _ROOT + "/{dataset}/tables/{table}"
        return [
            web.post(_ROOT, self.create_dataset),
            web.get(_ROOT + "/{dataset}", self.get_dataset, allow_head=False),
            web.get(_ROOT + "/{dataset}/tables", self.get_tables, allow_head=False),
            web.put(table, self.put_table),
            web.post(table + "/rows", self.post_rows),
            web.delete(table + "/rows", self.delete_rows),
            web.get(table + "/sequenceNumbers", self.get_sequence_numbers, allow_head=False),
            web.post("/beta/{tenant}/datasets/{dataset}/rows", self.push_rows),
        ]

    async def post_rows(self, request: web.Request) -> web.Response:
        client_id = self._client(request)
        model, table = self._model_and_table(request)
        numbered = _numbered(request, client_id)
        body = await self._body(request)
        admit(self._world, model, push_url=False)
        post(self._world, model, table, unwrap(body), numbered)
        return web.Response()

    async def push_rows(self, request: web.Request) -> web.Response:
        _check_key(request, self._world.options)
        model = self._world.model(request.match_info["dataset"])
        table = model.table(PUSH_URL_TABLE)
        body = await self._body(request)
        admit(self._world, model, push_url=True)
        post(self._world, model, table, body)
        return web.Response()

    async def delete_rows(self, request: web.Request) -> web.Response:
        self._client(request)
        self._model_and_table(request)[1].clear()
        return web.Response()

    async def get_sequence_numbers(self, request: web.Request) -> web.Response:
        self._client(request)
        numbers = self._model_and_table(request)[1].sequence_numbers
        listed = [
            {"clientId": client, "sequenceNumber": number} for client, number in numbers.items()
        ]
        return reply({"value": listed})

    async def get_dataset(self, request: web.Request) -> web.Response:
        self._client(request)
        model = self._world.model(request.match_info["dataset"])
        return reply(_described(model))

    async def get_tables(self, request: web.Request) -> web.Response:
        self._client(request)
        model = self._world.model(request.match_info["dataset"])
        return reply({"value": [{"name": name} for name in model.tables]})

    async def put_table(self, request: web.Request) -> web.Response:
        self._client(request)
        table = self._model_and_table(request)[1]
        body = _decoded(await request.read(), _TableBody)
        table.redefine(_schema(body, self._world.options))
        return reply({"name": table.name})

    async def create_dataset(self, request: web.Request) -> web.Response:
        self._client(request)
        if not self._world.options.allow_creation:
            raise refusal.deprecated()
        policy = request.query.get("defaultRetentionPolicy", "None").lower()
        if policy not in _RETENTIONS:
            raise refusal.invalid("defaultRetentionPolicy is None or basicFIFO")
        body = _decoded(await request.read(), _DatasetBody)
        schemas = {table.name: _schema(table, self._world.options) for table in body.tables}
        model = self._world.create(str(uuid.uuid4()), body.name, _RETENTIONS[policy])
        for name, schema in schemas.items():
            model.define(name, schema)
        return reply(_described(model), status=201)

    def _client(self, request: web.Request) -> str:
        return self._world.tokens.client(request.headers.get("Authorization"))

    def _model_and_table(self, request: web.Request) -> tuple[Model, Table]:
        model = self._world.model(request.match_info["dataset"])
        return model, model.table(request.match_info["table"])

    async def _body(self, request: web.Request) -> bytes:
        body = await request.read()
        self._world.stats.received(body)
        return body


def _decoded(body: bytes, kind: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise refusal.invalid(f"The body is not as documented: {fault}") from None


def _described(model: Model) -> dict[str, Any]:
    retention = "basicFIFO" if model.retention is Retention.FIFO else "None"
    return {
        "id": model.id,
        "name": model.name,
        "defaultRetentionPolicy": retention,
        "addRowsAPIEnabled": True,
    }


def _schema(table: _TableBody, options: EmulatorOptions) -> Schema:
    if len(table.columns) > options.columns:
        raise refusal.invalid(f"A table has at most {options.columns} columns")
    try:
        return {column.name: ColumnType(column.data_type) for column in table.columns}
    except ValueError as fault:
        raise refusal.invalid(f"Unknown dataType: {fault}") from None


def _numbered(request: web.Request, client_id: str) -> Numbered | None:
    text = request.headers.get(_SEQUENCE_NUMBER)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise refusal.invalid(f"{_SEQUENCE_NUMBER} must be a whole number")
    return Numbered(client_id, int(text))


def _check_key(request: web.Request, options: EmulatorOptions) -> None:
    """Which status a wrong key gets is documented nowhere."""
    key = request.query.get("key")
    wanted = options.push_key and options.push_key.get_secret_value()
    if not key or (wanted and key != wanted):
        raise refusal.error(403, "Forbidden", "The key of the push URL is missing or wrong")
