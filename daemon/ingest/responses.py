"""Answers, as the contract spells them, and as bytes."""

from http import HTTPStatus
from typing import Final

import msgspec

from forebay.buffer.entry import Receipt
from forebay.daemon.ingest.events import Events
from forebay.daemon.ingest.refusal import Refusal

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"Connection: close\r\n"
KEEP: Final = b"Connection: keep-alive\r\n"

_RETRY_AFTER = b"Retry-After: %d\r\n"
_STORED = (
    b'{"status": "success", "accepted": %d, "duplicates": 0, "rejected": 0, '
    b'"first_seq": %d, "last_seq": %d}'
)
_ANSWER = b"%sContent-Type: application/json\r\nContent-Length: %d\r\n%s%s\r\n%s"
_NO_CONTENT = 204  # a look-up in HTTPStatus takes longer than the rest of an answer
_STATUS_LINES = {
    status.value: b"HTTP/1.1 %d %s\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


class Reply(msgspec.Struct, frozen=True):
    """A status, a JSON body and whole header lines."""

    status: int
    body: bytes
    headers: bytes = b""


HEALTHY: Final = Reply(200, b'{"status": "ok"}')
NO_CONTENT: Final = Reply(204, b"")


def render(reply: Reply, tail: bytes, *, bodiless: bool = False) -> bytes:
    """The reply as it goes over the wire; `tail` are the header lines of this connection."""
    line = _STATUS_LINES[reply.status]
    if reply.status == _NO_CONTENT:
        return line + reply.headers + tail + b"\r\n"
    body = b"" if bodiless else reply.body
    return _ANSWER % (line, len(reply.body), reply.headers, tail, body)


def refused(refusal: Refusal) -> Reply:
    """The error body of the contract."""
    body = msgspec.json.encode({"status": "failed", "error": refusal.error})
    return Reply(refusal.status, body, refusal.headers)


def come_back(status: int, error: str, seconds: float) -> Reply:
    """429 or 503, and when to try again."""
    header = _RETRY_AFTER % max(1, round(seconds))
    return refused(Refusal(status, error, header))


def stored(events: Events, receipt: Receipt) -> Reply:
    """200: what became of the events."""
    first, last = receipt.first_seq, receipt.last_seq
    if receipt.accepted == events.count and not events.rejected and first is not None:
        return Reply(200, _STORED % (receipt.accepted, first, last))
    status = "partial_success" if events.rejected else "success"
    return Reply(200, _counted(status, events, receipt))


def unprocessable(events: Events) -> Reply:
    """422: nothing was stored. `rejected` counts the events that are bad themselves."""
    return Reply(422, _counted("failed", events, Receipt(0)))


def _counted(status: str, events: Events, receipt: Receipt) -> bytes:
    fields: dict[str, object] = {
        "status": status,
        "accepted": receipt.accepted,
        "duplicates": receipt.duplicates,
        "rejected": events.rejected,
        "first_seq": receipt.first_seq,
        "last_seq": receipt.last_seq,
    }
    if receipt.dropped:
        fields["dropped"] = receipt.dropped
    if events.faults:
        fields["errors"] = events.faults
    return msgspec.json.encode(fields)
