"""Access tokens by client credentials: one for all sends, fetched once however many wait.

| answer of the token endpoint | answer of the sink |
|---|---|
| 200 with a token | it is used until shortly before it expires |
| 400, 401, 403, 404, other 4xx (`invalid_client` …), a redirect | `Hold`, with the AADSTS text |
| 429, 5xx, time-out, no connection, 200 without a token | `Retry`: no rows were sent |

A token is renewed ahead of its expiry. When that fails, the old one serves as long as it lasts.

Source: "OAuth 2.0 client credentials flow", Microsoft identity platform.
"""

import asyncio
import copy
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from yarl import URL

from forebay.sinks._error_text import error_code
from forebay.sinks._http import HttpClient, Reply
from forebay.sinks._http_answers import answer_to
from forebay.sinks._masking import Masker
from forebay.sinks.base import Answer, Context, Hold, Rejected, Retry, TooLarge
from forebay.sinks.powerbi.options import Auth

_SECONDS = 10.0
_AHEAD = 300.0
_RETRY_AHEAD = 30.0
_UNKNOWN_LIFETIME = 300.0
_HINT = "Correct tenant_id, client_id and client_secret under `auth`"


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and when (monotonic) to look for the next one and when it is over."""

    value: str
    renew_at: float
    expires_at: float


class NoToken:
    """For push URLs: they carry their key themselves."""

    async def headers(self) -> Mapping[str, str]:
        return {}

    def refused(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002  as with Tokens
        """Whether another attempt may go better: never."""
        return False

    async def close(self) -> None:
        """There is nothing to let go of."""


class Tokens:
    """The token of one service principal."""

    def __init__(
        self, auth: Auth, authority_url: str, http: HttpClient, mask: Masker, context: Context
    ) -> None:
        tenant = quote(auth.tenant_id, safe="")
        self._url = URL(f"{authority_url}/{tenant}/oauth2/v2.0/token", encoded=True)
        self._auth = auth
        self._http = http
        self._mask = mask
        self._monotonic = context.monotonic
        self._wall_clock = context.wall_clock
        self._token: Token | None = None
        self._fetching: asyncio.Task[Token | Answer] | None = None

    async def headers(self) -> Mapping[str, str]:
        """The headers that carry the token. Raises `Retry` or `Hold` when there is none."""
        token = self._token
        if token is None or self._monotonic() >= token.renew_at:
            token = await self._renew()
        return {"Authorization": f"Bearer {token.value}"}

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Told that the service refused these headers. True: ask again, and send again."""
        if self._token and headers.get("Authorization") == f"Bearer {self._token.value}":
            self._token = None
        return True

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            with suppress(asyncio.CancelledError):
                await self._fetching

    async def _renew(self) -> Token:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="power bi token")
            self._fetching.add_done_callback(self._fetched)
        # Shielded: a send that is cancelled must not take the token from the others that wait.
        outcome = await asyncio.shield(self._fetching)
        if isinstance(outcome, Token):
            return outcome
        old, now = self._token, self._monotonic()
        if old is not None and now < old.expires_at:
            self._token = Token(old.value, now + _RETRY_AHEAD, old.expires_at)
            return old
        raise copy.copy(outcome)  # each that waits raises one of its own

    def _fetched(self, task: "asyncio.Task[Token | Answer]") -> None:
        self._fetching = None
        if not task.cancelled() and isinstance(outcome := task.result(), Token):
            self._token = outcome

    async def _fetch(self) -> Token | Answer:
        asked_at = self._monotonic()
        form = {
            "client_id": self._auth.client_id,
            "client_secret": self._auth.client_secret.get_secret_value(),
            "grant_type": "client_credentials",
            "scope": self._auth.scope,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            reply = await self._http.request(
                "POST", self._url, urlencode(form).encode(), headers, seconds=_SECONDS
            )
        except Answer as answer:
            return _without_rows(answer)
        return self._read(reply, asked_at)

    def _read(self, reply: Reply, asked_at: float) -> Token | Answer:
        answer = answer_to(reply, wall_clock=self._wall_clock, mask=self._mask, hint=_HINT)
        if answer is not None:
            return _without_rows(answer, error_code(reply.body))
        token = _parse(reply.body, asked_at)
        if token is None:
            return Retry("no token: the token endpoint's answer holds none", status=reply.status)
        self._mask.add(token.value)
        return token


def _without_rows(answer: Answer, code: str | None = None) -> Answer:
    """The answer as it is for a batch of which nothing was sent."""
    reason = f"no token: {answer.reason}"
    if isinstance(answer, Retry) or code == "temporarily_unavailable":
        after = answer.after if isinstance(answer, Retry) else None
        throttled = isinstance(answer, Retry) and answer.throttled
        return Retry(reason, after=after, throttled=throttled, status=answer.status)
    if isinstance(answer, Rejected | TooLarge):
        reason = f"{reason}. {_HINT}"
    return Hold(reason, status=answer.status)


def _parse(body: bytes, asked_at: float) -> Token | None:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    match document:
        case {"access_token": str(value)} if value and value.isascii() and value.isprintable():
            lifetime = _lifetime(document.get("expires_in"))
            ahead = min(_AHEAD, lifetime / 4)
            return Token(value, asked_at + lifetime - ahead, asked_at + lifetime)
    return None


def _lifetime(value: Any) -> float:
    """Seconds from `expires_in`, which older endpoints write as text."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return _UNKNOWN_LIFETIME
    return seconds if math.isfinite(seconds) and seconds >= 0 else _UNKNOWN_LIFETIME
