"""The emulator's own paths, below `/_/`: what it holds, what it counted, which faults it plays."""

import msgspec
import pydantic
from aiohttp import web

from forebay.sinks.powerbi.emulator.faults import Fault
from forebay.sinks.powerbi.emulator.refusal import Refused
from forebay.sinks.powerbi.emulator.reply import reply
from forebay.sinks.powerbi.emulator.table import Table
from forebay.sinks.powerbi.emulator.world import PUSH_URL_TABLE, World


class Control:
    """The handlers, one a method."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.AbstractRouteDef]:
        return [
            web.get("/_/tables", self.get_tables),
            web.get("/_/rows", self.get_rows),
            web.delete("/_/rows", self.delete_rows),
            web.get("/_/requests", self.get_requests),
            web.get("/_/faults", self.get_faults),
            web.post("/_/faults", self.post_fault),
            web.delete("/_/faults", self.delete_faults),
        ]

    async def get_tables(self, _request: web.Request) -> web.Response:
        return reply(
            {
                "tables": [
                    {"dataset": model.id, "table": table.name, "rows": table.count}
                    for model in self._world.models.values()
                    for table in model.tables.values()
                ]
            }
        )

    async def get_rows(self, request: web.Request) -> web.Response:
        """`?dataset=&table=&offset=&limit=`; the rows are the bytes that came."""
        offset = _whole_number(request, "offset") or 0
        limit = _whole_number(request, "limit")
        dataset = request.query.get("dataset") or self._only_dataset()
        tables = self._tables(dataset)
        name = request.query.get("table") or _only_table(tables)
        table = tables.get(name)
        rows = [] if table is None else table.rows(offset, limit)
        return reply(
            {
                "dataset": dataset,
                "table": name,
                "count": 0 if table is None else table.count,
                "rows": [msgspec.Raw(row) for row in rows],
            }
        )

    async def delete_rows(self, _request: web.Request) -> web.Response:
        self._world.reset()
        return reply({})

    async def get_requests(self, _request: web.Request) -> web.Response:
        return reply(self._world.stats)

    async def get_faults(self, _request: web.Request) -> web.Response:
        listed = [
            fault.model_dump(mode="json", exclude_unset=True) | {"count": left}
            for fault, left in self._world.faults.listed()
        ]
        return reply({"faults": listed})

    async def post_fault(self, request: web.Request) -> web.Response:
        try:
            fault = Fault.model_validate_json(await request.read())
        except pydantic.ValidationError as refused:
            raise Refused(400, {"error": _explained(refused)}) from None
        self._world.fault(fault)
        return reply(fault.model_dump(mode="json", exclude_unset=True), status=201)

    async def delete_faults(self, _request: web.Request) -> web.Response:
        self._world.clear_faults()
        return reply({})

    def _only_dataset(self) -> str | None:
        datasets = list(self._world.models)
        if len(datasets) > 1:
            raise Refused(400, {"error": f"say which dataset: ?dataset= one of {datasets}"})
        return datasets[0] if datasets else None

    def _tables(self, dataset: str | None) -> dict[str, Table]:
        model = self._world.models.get(dataset) if dataset else None
        return model.tables if model else {}


def _only_table(tables: dict[str, Table]) -> str:
    """The table when no name is given: the one there is, else that of the push URLs."""
    return next(iter(tables)) if len(tables) == 1 else PUSH_URL_TABLE


def _whole_number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise Refused(400, {"error": f"{name} must be a whole number, like ?{name}=100"})
    return int(text)


def _explained(refused: pydantic.ValidationError) -> str:
    return "; ".join(
        ".".join(map(str, error["loc"])) + (": " if error["loc"] else "") + error["msg"]
        for error in refused.errors(include_url=False)
    )
