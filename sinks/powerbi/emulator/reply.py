"""From what the emulator decided to what aiohttp sends."""

from collections.abc import Awaitable
from typing import Any

import msgspec
from aiohttp import web

from forebay.sinks.powerbi.emulator.refusal import Refused, error


def reply(body: Any, status: int = 200) -> web.Response:
    """`body` as JSON; a `msgspec.Raw` in it stays the bytes it is."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


def refuse(refused: Refused) -> web.Response:
    return web.Response(
        body=refused.body,
        status=refused.status,
        headers=refused.headers,
        content_type="application/json",
    )


async def answered(
    handling: Awaitable[web.StreamResponse | None],
) -> web.StreamResponse | None:
    """The handler's response, or that of the refusal which it raised; None is no answer."""
    try:
        return await handling
    except Refused as refused:
        return refuse(refused)
    except web.HTTPException as fault:
        # aiohttp's own: no such path, no such method, body too large.
        return refuse(error(fault.status, fault.reason.replace(" ", ""), fault.text or ""))
