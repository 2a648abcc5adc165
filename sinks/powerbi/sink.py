"""Rows to a Power BI push table, by its push URL or by the REST API.

| outcome | answer |
|---|---|
| 200, 201, 202 (any 2xx) | stored |
| 429 | `Retry(after=Retry-After)`, never capped |
| 401; 403 `TokenExpired` | a new token once, the rows again at once; then `Hold` |
| 403 otherwise; 404; 405, 410, other 4xx | `Hold` |
| 4xx `ItemNotFound`, `FeatureDeprecatedError` | `Hold`: the model is at fault, not the rows |
| 400, 422 | `Rejected`: the pipeline splits to the row |
| 413 | `TooLarge` |
| 408, 5xx, time-out, reset after the request was sent | `Retry(ambiguous=True)` |
| connection refused, DNS, TLS; no token for now | `Retry` |
| 307, 308 | followed to Power BI's own hosts and to the configured one; else `Hold` |
| other 3xx | `Hold` |

With `sequence = "verify"` an answer that never came is cleared up before the batch is sent again:
`verify.py` and `sequence.py` tell how.

What becomes of long strings, many columns and nested values is told in `rows.py`.

Source: Microsoft's REST reference "Push Datasets - Datasets PostRows(InGroup)" and "Push semantic
model limitations".
"""

import asyncio
from collections.abc import Mapping

from yarl import URL

from forebay.sinks._error_text import error_code
from forebay.sinks._http import HttpClient, Reply
from forebay.sinks._http_answers import answer_to
from forebay.sinks._masking import Masker
from forebay.sinks._urls import origin
from forebay.sinks.base import (
    Batch,
    Context,
    Hold,
    Limits,
    Quota,
    Rejected,
    Sink,
    TooLarge,
    Unit,
)
from forebay.sinks.powerbi.options import PowerBIOptions, Retention, Sequence
from forebay.sinks.powerbi.redirects import next_url
from forebay.sinks.powerbi.rows import Rows, mapped, pass_through
from forebay.sinks.powerbi.token import NoToken, Tokens
from forebay.sinks.powerbi.verify import Unverified, Verified

MAX_ROWS = 10_000
MAX_BODY = 16_000_000
LARGE_TABLE = 250_000
_ARRAY = (b"[", b"]")
_ENVELOPE = (b'{"rows":[', b"]}")
_MARGIN = 64  # of MAX_BODY, for the envelope and the array's brackets
_MAX_REDIRECTS = 3
_MODEL_FAULTS = frozenset({"FeatureDeprecatedError", "ItemNotFound"})
_HINTS = {
    401: "Correct push_url, or the credentials under `auth`",
    403: "Let the service principal write: add it to the workspace as Contributor, and allow "
    "service principals in the tenant's settings",
    404: "Correct push_url, or dataset_id, table and workspace_id; only push datasets take rows",
}


class PowerBISink(Sink):
    """Posts each batch as rows of one table."""

    options = PowerBIOptions

    def __init__(self, options: PowerBIOptions, context: Context) -> None:
        self.limits = limits_of(options)
        self._wall_clock = context.wall_clock
        self._mask = Masker(options.secrets())
        self._http = HttpClient(options, self._mask)
        self._url = options.url()
        self._envelope = _ARRAY if options.push_url else _ENVELOPE
        self._rows: Rows = (
            mapped(options.columns, options.long_strings) if options.columns else pass_through
        )
        self._tokens: Tokens | NoToken = NoToken()
        if options.auth is not None:
            self._tokens = Tokens(
                options.auth, options.authority_url, self._http, self._mask, context
            )
        self._delivery: Unverified | Verified = Unverified(self._post)
        if options.sequence is Sequence.VERIFY:
            self.identified = self.ordered = True
            self._sequence_url = options.sequence_url()
            self._delivery = Verified(context.name, self._post, self._numbers)

    async def open(self) -> None:
        await self._http.open()

    async def close(self) -> None:
        await self._tokens.close()
        await self._http.close()

    async def send(self, batch: Batch) -> None:
        # Rows are made in a thread: ten thousand of them would hold up the event loop.
        body = await asyncio.to_thread(self._body, batch)
        await self._delivery.send(batch, body)

    def _body(self, batch: Batch) -> bytes:
        body = b",".join(self._rows(batch)).join(self._envelope)
        if len(body) > MAX_BODY:
            raise TooLarge(f"the rows make {len(body)} bytes, Power BI takes {MAX_BODY} a request")
        return body

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> None:
        reply = await self._request(
            "POST", self._url, body, {"Content-Type": "application/json", **headers}
        )
        self._check(reply)

    async def _numbers(self) -> bytes:
        """What the service answers when it is asked for the table's sequence numbers."""
        reply = await self._request("GET", self._sequence_url, b"", {})
        self._check(reply)
        return reply.body

    def _check(self, reply: Reply) -> None:
        hint = _HINTS.get(reply.status, "")
        answer = answer_to(reply, wall_clock=self._wall_clock, mask=self._mask, hint=hint)
        if isinstance(answer, Rejected) and error_code(reply.body) in _MODEL_FAULTS:
            raise Hold(f"{answer.reason}. {_HINTS[404]}", status=answer.status)
        if answer is not None:
            raise answer

    async def _request(
        self, method: str, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> Reply:
        """Ask with a token; once more with a new one when the first was refused."""
        auth = await self._tokens.headers()
        reply = await self._follow(method, url, body, {**headers, **auth})
        if _token_refused(reply) and self._tokens.refused(auth):
            auth = await self._tokens.headers()
            return await self._follow(method, url, body, {**headers, **auth})
        return reply

    async def _follow(
        self, method: str, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> Reply:
        hops = 0
        while True:
            reply = await self._http.request(method, url, body, headers)
            if reply.status not in {307, 308}:
                return reply
            target = next_url(url, reply.headers.get("Location"), self._url)
            if target is None or hops == _MAX_REDIRECTS:
                raise _astray(url, reply.status)
            url, hops = target, hops + 1


def limits_of(options: PowerBIOptions) -> Limits:
    """What Microsoft documents that a model takes, as the operator lowered it."""
    given = options.limits
    quotas = [
        Quota("requests_per_minute", Unit.REQUESTS, given.requests_per_minute, 60),
        Quota("rows_per_hour", Unit.EVENTS, given.rows_per_hour, 3600),
    ]
    if options.retention is Retention.NONE:
        # With FIFO a table never comes to the size from which this one applies.
        amount = given.requests_per_hour_large
        quotas.append(Quota("requests_per_hour_large", Unit.REQUESTS, amount, 3600, LARGE_TABLE))
    return Limits(MAX_ROWS, MAX_BODY - _MARGIN, given.pending, tuple(quotas))


def _token_refused(reply: Reply) -> bool:
    expired = reply.status == 403 and error_code(reply.body) == "TokenExpired"  # noqa: PLR2004
    return expired or reply.status == 401  # noqa: PLR2004  well-known status codes


def _astray(url: URL, status: int) -> Hold:
    return Hold(
        f"HTTP {status}: {origin(url)} redirects to where rows and token must not go, or in "
        "circles. Correct api_url or push_url",
        status=status,
    )
