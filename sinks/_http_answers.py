"""From a reply to an answer, for every sink that speaks HTTP.

| status | answer |
|---|---|
| 2xx | stored (None) |
| 400, 422 | `Rejected` |
| 413 | `TooLarge` |
| 425, 429 | `Retry` |
| 408, 5xx | `Retry(ambiguous=True)` |
| 401, 403, 404, 405, 410, 3xx, any other | `Hold` |

429, and 503 with `Retry-After`, are throttling. `Retry-After` is obeyed however long it is.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from forebay.sinks._error_text import error_text, one_line, shorten
from forebay.sinks._http import Reply
from forebay.sinks.base import Answer, Hold, Rejected, Retry, TooLarge

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_REQUEST_IDS = ("RequestId", "x-ms-request-id", "X-Request-Id")


def answer_to(
    reply: Reply, *, wall_clock: Callable[[], float], mask: Callable[[str], str], hint: str = ""
) -> Answer | None:
    """What to raise for a reply, or None when it says that the batch is stored.

    `hint` tells the operator what to do; it ends the message of a `Hold`.
    """
    status = reply.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    reason = describe(reply, mask)
    if status in {400, 422}:
        return Rejected(reason, status=status)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return TooLarge(reason, status=status)
    if status in {408, 425, 429} or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        after = retry_after(reply.headers.get("Retry-After"), wall_clock)
        return Retry(
            reason,
            after=after,
            ambiguous=status not in {425, 429},
            throttled=status == HTTPStatus.TOO_MANY_REQUESTS
            or (status == HTTPStatus.SERVICE_UNAVAILABLE and after is not None),
            status=status,
        )
    return Hold(f"{reason}. {hint}" if hint else reason, status=status)


def retry_after(value: str | None, wall_clock: Callable[[], float]) -> float | None:
    """How many seconds a `Retry-After` asks for: a number or an HTTP date, never capped.

    None without one, and for garbage, negative numbers and dates gone by.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - wall_clock()
    return seconds if seconds >= 0 else None


def describe(reply: Reply, mask: Callable[[str], str]) -> str:
    """`HTTP 400: what the other side said`, one line, short, and without secrets."""
    text = error_text(reply.body) or one_line(reply.headers.get("WWW-Authenticate", ""))[:2000]
    # Mask before shortening: half a secret is harder to recognise than a whole one.
    text = shorten(mask(text)) or _phrase(reply.status)
    for name in _REQUEST_IDS:
        if found := reply.headers.get(name):
            text += f" (request {shorten(mask(one_line(found[:256])), 64)})"
            break
    return f"HTTP {reply.status}: {text}"


def _phrase(status: int) -> str:
    try:
        return f"{HTTPStatus(status).phrase}, without an explanation"
    except ValueError:
        return "without an explanation"
