"""Batches to any HTTP endpoint.

| status | answer |
|---|---|
| 2xx | stored |
| 400, 422 | `Rejected`: the pipeline splits to the row |
| 413 | `TooLarge`: the pipeline halves |
| 429, 425 | `Retry` |
| 408, 5xx; time-out, reset after the request was sent | `Retry(ambiguous=True)` |
| connection refused, DNS, TLS | `Retry` |
| 3xx (never followed), 401, 403, 404, 405, 410, other 4xx | `Hold` |

Every request carries `Idempotency-Key: instance/sink/first-last`, the same whenever a batch is
sent again, so that a receiver that remembers keys stores nothing twice.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Self

from multidict import CIMultiDict
from pydantic import Field, SecretStr, field_validator, model_validator
from yarl import URL

from forebay.sinks._compression import Compression
from forebay.sinks._http import HttpClient, HttpOptions
from forebay.sinks._http_answers import answer_to
from forebay.sinks._http_body import Body, lines
from forebay.sinks._masking import Masker
from forebay.sinks._urls import Secret, SecretUrl, url_secrets
from forebay.sinks.base import Batch, Context, Sink

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = frozenset(
    {"connection", "content-encoding", "content-length", "idempotency-key", "transfer-encoding"}
)
_HARMLESS = frozenset({"accept", "content-type", "user-agent"})
_SCHEME = re.compile(r"(?i)(?:basic|bearer|token|apikey|key)\s+")
_HINTS = {
    401: "Correct the credentials in `url` or `headers`",
    403: "Give these credentials the right to write there",
    404: "Correct `url`",
    405: "Correct `method`",
}
_REDIRECT_HINT = "Redirects are not followed: set `url` to where this one leads"


class Method(StrEnum):
    """The method of each request."""

    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"


class Format(StrEnum):
    """How the events stand in the body: a JSON array, or one a line."""

    JSON = "json"
    NDJSON = "ndjson"

    @property
    def content_type(self) -> str:
        return {"json": "application/json", "ndjson": "application/x-ndjson"}[self.value]

    def size(self, batch: Batch) -> int:
        """The length of the body."""
        return batch.nbytes + (1 if self is Format.NDJSON else 2)

    def pieces(self, batch: Batch) -> Iterator[bytes]:
        """The events as one body; their own bytes are untouched."""
        pieces = lines(part.payload for part in batch.parts)
        if self is Format.NDJSON:
            yield from pieces
            return
        opening = b"["
        for piece in pieces:
            yield opening + piece[:-1].replace(b"\n", b",")
            opening = b","
        yield b"]"


class HttpSinkOptions(HttpOptions):
    """Options of `type = "http"`."""

    url: SecretUrl = Field(
        description="Where to send. Taken for a secret: messages show no more of it than its "
        "scheme, host and port."
    )
    method: Method = Field(default=Method.POST, description="Method of each request.")
    headers: Mapping[str, Secret] = Field(
        default_factory=dict,
        description="Headers of each request, like `Authorization`; the values are secrets.",
    )
    format: Format = Field(
        default=Format.JSON,
        description="`json`: an array of the events. `ndjson`: one event a line.",
    )
    compression: Compression = Field(
        default=Compression.NONE, description="Content coding of the body: none, gzip or zstd."
    )

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name):
                raise ValueError("the name of a header has a character that HTTP forbids")
            if name.lower() in _OURS:
                raise ValueError(f"leave the header {name} out: forebay sets it itself")
            if not value.get_secret_value().isprintable():
                raise ValueError(f"the value of the header {name} has control characters")
        return headers

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        named = any(name.lower() == "authorization" for name in self.headers)
        if named and URL(self.url.get_secret_value(), encoded=True).raw_user is not None:
            raise ValueError("give credentials in `url` or in an Authorization header, not in both")
        return self

    def secrets(self) -> list[str]:
        """All that must not be shown."""
        values = {name.lower(): value.get_secret_value() for name, value in self.headers.items()}
        proxy = "" if self.proxy is None else self.proxy.get_secret_value()
        return [
            *url_secrets(self.url.get_secret_value()),
            *url_secrets(proxy),
            *(_SCHEME.sub("", value) for name, value in values.items() if name not in _HARMLESS),
        ]


class HttpSink(Sink):
    """Sends each batch in one request."""

    options = HttpSinkOptions
    identified = True

    def __init__(self, options: HttpSinkOptions, context: Context) -> None:
        self._options = options
        self._wall_clock = context.wall_clock
        self._mask = Masker(options.secrets())
        self._http = HttpClient(options, self._mask)
        self._url = URL(options.url.get_secret_value(), encoded=True)

    async def open(self) -> None:
        await self._http.open()

    async def close(self) -> None:
        await self._http.close()

    async def send(self, batch: Batch) -> None:
        reply = await self._http.request(
            self._options.method, self._url, await self._body(batch), self._headers(batch)
        )
        redirected = 300 <= reply.status < 400  # noqa: PLR2004  that is what 3xx means
        hint = _REDIRECT_HINT if redirected else _HINTS.get(reply.status, "")
        answer = answer_to(reply, wall_clock=self._wall_clock, mask=self._mask, hint=hint)
        if answer is not None:
            raise answer

    async def _body(self, batch: Batch) -> Body:
        if self._options.compression is Compression.NONE:
            return Body(self._options.format.pieces(batch), self._options.format.size(batch))
        # Compressing megabytes would hold up everybody else on the event loop.
        return Body.of(await asyncio.to_thread(self._compressed, batch))

    def _compressed(self, batch: Batch) -> bytes:
        return self._options.compression.compress(b"".join(self._options.format.pieces(batch)))

    def _headers(self, batch: Batch) -> Mapping[str, str]:
        headers = CIMultiDict({"Content-Type": self._options.format.content_type})
        if self._options.compression is not Compression.NONE:
            headers["Content-Encoding"] = self._options.compression
        for name, value in self._options.headers.items():
            headers[name] = value.get_secret_value()
        headers["Idempotency-Key"] = batch.id
        return headers
