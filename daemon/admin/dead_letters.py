"""Dead letters over HTTP: looked at, put back in line, deleted."""

from collections.abc import Awaitable, Callable, Container
from typing import Annotated, Any, Final

import msgspec
import structlog
from aiohttp import web
from msgspec.structs import replace

from forebay.buffer import BufferFault, DeadLetter, Progress, Selection, Store
from forebay.daemon.admin.guard import failure
from forebay.daemon.status import iso

MOST_LISTED: Final = 1000
_LISTED: Final = 100
_LARGEST: Final = 2**63 - 1
"""The largest id that the log could ever give."""
_HOW = (
    'send {"sink": "sales", "ids": [1, 2]} or {"sink": "sales", "all": true}, '
    'which takes a "stream" too'
)

Id = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
Change = Callable[[Selection, int | None], Awaitable[Progress]]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which letters of a sink are meant. A filter with a typing mistake must not mean all."""

    sink: str
    ids: list[Id] | None = None
    all: bool = False
    stream: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    after: Id = 0

    def selection(self) -> Selection:
        """As the buffer understands it. Raises ValueError where it is not plain what is meant."""
        if self.ids is not None and self.all:
            raise ValueError('"ids" and "all" contradict each other')
        if self.ids is None and not self.all:
            raise ValueError("nothing says which letters are meant")
        ids = None if self.ids is None else tuple(self.ids)
        return Selection(self.sink, self.stream, ids, self.after)


class _Refused(Exception):  # noqa: N818  not a fault: an answer
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class DeadLetterApi:
    """`configured` gives the names of the sinks that are delivered to now."""

    def __init__(self, store: Store, configured: Callable[[], Container[str]]) -> None:
        self._store = store
        self._configured = configured
        self._log = structlog.get_logger()

    def routes(self) -> list[web.RouteDef]:
        """The paths, for an application."""
        return [
            web.get("/v1/dead-letters", _answering(self.page)),
            web.get("/v1/dead-letters/{id:[0-9]{1,18}}", _answering(self.show)),
            web.post("/v1/dead-letters/replay", _answering(self.replay)),
            web.post("/v1/dead-letters/purge", _answering(self.purge)),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """One page, in the order of the ids. A page of large events is shorter than its limit."""
        selection = Selection(
            sink=request.query.get("sink") or None,
            stream=request.query.get("stream") or None,
            after=_number(request, "after", 0, 0, _LARGEST),
        )
        if selection.sink is not None:
            self._must_know(selection.sink)
        limit = _number(request, "limit", _LISTED, 1, MOST_LISTED)
        letters = await self._store.dead_letters(selection, limit)
        return _json({"items": [_item(letter) for letter in letters],
                      "next": await self._next(selection, letters)})  # fmt: skip

    async def show(self, request: web.Request) -> web.Response:
        """One dead letter."""
        id_ = int(request.match_info["id"])
        letters = await self._store.dead_letters(Selection(ids=(id_,)), 1)
        if not letters:
            raise _Refused(
                404, f"there is no dead letter {id_} now: it was purged, or is back in line"
            )
        return _json(_item(letters[0]))

    async def replay(self, request: web.Request) -> web.Response:
        """Put dead letters back in line. Answers when all of them are, not when they are sent."""
        order = await self._order(request)
        if order.sink not in self._configured():
            raise _Refused(
                409,
                "this sink is not configured now, so nobody would deliver them: "
                "add it to the file again and reload, then replay",
            )
        return await self._change(order, "replayed", self._store.replay_part)

    async def purge(self, request: web.Request) -> web.Response:
        """Delete dead letters."""
        return await self._change(await self._order(request), "purged", self._store.purge_part)

    async def _order(self, request: web.Request) -> Order:
        try:
            order = msgspec.json.decode(await request.read(), type=Order)
            order.selection()
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise _Refused(400, f"{error}: {_HOW}") from None
        self._must_know(order.sink)
        if self._store.fault is not None:  # it would be done some time, with nobody waiting
            raise _Refused(503, f"{self._store.fault}; nothing was changed")
        return order

    async def _change(self, order: Order, done: str, change: Change) -> web.Response:
        progress = await change(order.selection(), order.limit)
        self._log.info(f"dead_letters.{done}", sink=order.sink, letters=progress.letters)
        answer: dict[str, Any] = {done: progress.letters}
        if order.limit is not None:
            answer["next"] = progress.rest and progress.rest.after
        return _json(answer)

    async def _next(self, selection: Selection, letters: list[DeadLetter]) -> int | None:
        """The value of `after` for the next page; None when there is none."""
        if not letters:
            return None
        rest = replace(selection, after=letters[-1].id)
        return rest.after if await self._store.dead_letters(rest, 1) else None

    def _must_know(self, sink: str) -> None:
        if sink not in self._store.ledger.sinks:
            known = ", ".join(sorted(self._store.ledger.sinks)) or "none"
            raise _Refused(404, f"there is no sink of that name; there are: {known}")


Handler = Callable[[web.Request], Awaitable[web.Response]]


def _answering(handler: Handler) -> Handler:
    """Refusals, and faults of the buffer, as answers."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except _Refused as refused:
            return failure(refused.status, str(refused))
        except BufferFault as fault:
            return failure(503, str(fault))

    return answer


def _number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name) or str(default)
    if text.isascii() and text.isdecimal() and least <= int(text[:20]) <= most:
        return int(text)
    raise _Refused(400, f"{name} must be a whole number from {least} to {most}")


def _item(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as the contract has it; its event is the bytes that came."""
    item = {
        "id": letter.id,
        "sink": letter.sink,
        "stream": letter.stream,
        "seq": letter.seq,
        "received_at": iso(letter.received_at),
        "failed_at": iso(letter.failed_at),
        "attempts": letter.attempts,
        "status": letter.status,
        "error": letter.error,
        "event": msgspec.Raw(letter.event),
    }
    return item if letter.attributes is None else item | {"attributes": letter.attributes}


def _json(value: object) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, content_type="application/json", charset="utf-8")
