"""One connection pool to the other side, and the border at which its failures get our names.

| what happened | answer |
|---|---|
| DNS, connection refused, TLS, proxy, no connection in time: nothing was sent | `Retry` |
| reset, disconnected or timed out after that | `Retry(ambiguous=True)` |
| the URL cannot be used | `Hold` |
| a status came, whatever became of its body | a `Reply` |

aiohttp's exceptions hold the URL, and with it its secrets: they never leave this module, not even
as the cause or the context of an answer. A redirect is a reply like any other. Nothing is sent
twice behind our back: aiohttp repeats a PUT on a connection that broke, unless a middleware
renames the exception.
"""

import asyncio
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import aiohttp
from pydantic import Field
from yarl import URL

from forebay.sinks._error_text import one_line, shorten
from forebay.sinks._http_body import Body
from forebay.sinks._masking import Masker
from forebay.sinks._urls import SecretUrl, origin
from forebay.sinks.base import Answer, Hold, Options, Retry
from forebay.sinks.units import Duration

_BODY_BYTES = 64 * 1024
_BODY_SECONDS = 5.0
_USER_AGENT = "forebay"
_URL = re.compile(r"https?://\S+")


class HttpOptions(Options):
    """What every sink that speaks HTTP has."""

    connect_timeout: Annotated[Duration, Field(gt=timedelta(0))] = Field(
        default=timedelta(seconds=10),
        description="How long a connection, with name look-up and TLS, may take.",
    )
    proxy: SecretUrl | None = Field(
        default=None,
        description="Proxy to go through, like `http://user:password@proxy:3128`. The variables "
        "of the environment are not read.",
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """A status that came, its headers, and the first 64 KiB of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Broken(aiohttp.ClientConnectionError):
    """The connection broke after it was made. Not one of those that aiohttp repeats."""


async def _never_twice(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Broken(str(error)) from error


class HttpClient:
    """Sends requests over one pool of connections; `open` before, `close` after."""

    def __init__(
        self, options: HttpOptions, mask: Masker, *, body_seconds: float = _BODY_SECONDS
    ) -> None:
        self._connect_seconds = options.connect_timeout.total_seconds()
        self._proxy = options.proxy
        self._mask = mask
        self._body_seconds = body_seconds
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            # How many sends run at once is the pipeline's business.
            connector=aiohttp.TCPConnector(limit=0),
            # How long a send may take is the pipeline's business too.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"},
            auto_decompress=False,
            middlewares=(_never_twice,),
            proxy=None if self._proxy is None else self._proxy.get_secret_value(),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        url: URL,
        body: bytes | Body,
        headers: Mapping[str, str],
        *,
        seconds: float | None = None,
    ) -> Reply:
        """Send once and return what came back, any status; else raise `Retry` or `Hold`.

        `seconds` bounds the whole exchange, where the caller of `send` does not.
        """
        # Raised here rather than in the `except`, where the URL would become its context.
        outcome = await self._attempt(method, url, body, headers, seconds)
        if isinstance(outcome, Answer):
            raise outcome
        return outcome

    async def _attempt(
        self,
        method: str,
        url: URL,
        body: bytes | Body,
        headers: Mapping[str, str],
        seconds: float | None,
    ) -> Reply | Answer:
        if self._session is None:
            raise RuntimeError("open() the sink before the first send()")
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(
                    method,
                    url,
                    data=Body.of(body) if isinstance(body, bytes) else body,
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                return Reply(response.status, response.headers, await self._body(response))
        except Exception as error:  # noqa: BLE001  whatever it is, it may hold the URL
            return _answer_to(error, origin(url), self._mask)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """As much of the body as comes soon. The status alone is an answer already."""
        body = bytearray()
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(self._body_seconds):
                while len(body) < _BODY_BYTES:
                    chunk = await response.content.read(_BODY_BYTES - len(body))
                    if not chunk:
                        break
                    body += chunk
        return _decoded(bytes(body), response.headers.get("Content-Encoding", ""))


def _decoded(body: bytes, encoding: str) -> bytes:
    """The body without the gzip that nobody asked for, as far as it goes."""
    if encoding.lower() not in {"gzip", "deflate"}:
        return body
    try:
        return zlib.decompressobj(wbits=47).decompress(body, _BODY_BYTES)
    except zlib.error:
        return b""


def _answer_to(error: Exception, where: str, mask: Masker) -> Answer:
    told = _URL.sub(where, one_line(str(error)[:2000]))
    detail = shorten(mask(told) or type(error).__name__)
    match error:
        case aiohttp.ConnectionTimeoutError():
            return Retry(f"no connection to {where} in time")
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError():
            return Retry(f"no connection to {where}: {detail}")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Hold(f"the URL at {where} cannot be used; correct it in the configuration")
        case TimeoutError():
            return Retry(f"no answer from {where} in time", ambiguous=True)
        case _:
            return Retry(
                f"the connection to {where} broke before the answer: {detail}", ambiguous=True
            )
