"""From the head of a request to what is asked for, in the contract's order of checks.

403 ► 401 ► 404 ► 405 ► 411, 413, 415 ► 417 ► 400; what needs the body comes after, in body.py.

- The path is taken as it is written: no character of a stream's name needs percent-encoding, so
  that a path with `%` names no stream, and is 404.
- Query parameters other than `atomic` are ignored: proxies and webhook senders add their own.
- `GET /healthz` needs no token, as a health check has none; nor does a browser's question
  whether an allowed page may post (CORS preflight), as it cannot carry one.
"""

import re
from collections.abc import Callable
from enum import Enum

import msgspec

from forebay.daemon.ingest.cloudevents import binary_attributes
from forebay.daemon.ingest.encoding import codings
from forebay.daemon.ingest.events import Attributes
from forebay.daemon.ingest.guard import Guard, is_preflight
from forebay.daemon.ingest.head import Head
from forebay.daemon.ingest.refusal import Refusal
from forebay.daemon.ingest.responses import HEALTHY, NO_CONTENT, Reply

_PATH = re.compile(rb"/v1/events/([A-Za-z0-9][A-Za-z0-9._-]{0,127})")
_ABSOLUTE = re.compile(rb"http://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_KEY_MAX = 255


class Form(Enum):
    """How events stand in a body."""

    JSON = b"application/json"
    LINES = b"application/x-ndjson"
    STRUCTURED = b"application/cloudevents+json"
    BATCH = b"application/cloudevents-batch+json"
    BINARY = b""


_FORMS = {form.value: form for form in Form if form.value} | {b"application/jsonl": Form.LINES}


class Post(msgspec.Struct, frozen=True):
    """Events are coming: for which stream, and how to read them."""

    stream: str
    form: Form
    codings: tuple[str, ...] = ()
    atomic: bool = False
    key: bytes | None = None
    attributes: Attributes | None = None


class Router:
    """Judges heads for one listener. `routed` says whether a stream is taken at all."""

    def __init__(self, guard: Guard, routed: Callable[[str], bool], max_body: int) -> None:
        self._guard = guard
        self.cors = guard.cors
        self._routed = routed
        self._max_body = max_body

    def judge(self, head: Head) -> Post | Reply:
        """What is asked for, or the answer itself. Raises Refusal."""
        guard = self._guard
        guard.check_source(head)
        if is_preflight(head):
            return NO_CONTENT
        path, query = self._path(head.target)
        if path == b"/healthz" and head.method in (b"GET", b"HEAD"):
            return HEALTHY
        guard.check_token(head)
        stream = self._stream(path)
        if head.method != b"POST" or stream is None:
            allow = b"Allow: POST\r\n" if stream else b"Allow: GET, HEAD\r\n"
            raise Refusal(
                405, "this method is not for this path; Allow names those that are", allow
            )
        self._check_length(head)
        form = _form(head)
        encoding = head.fields.get(b"content-encoding")
        names = codings(encoding) if encoding else ()
        _check_expect(head)
        return Post(
            stream,
            form,
            names,
            atomic=bool(query) and _atomic(query),
            key=_key(head),
            attributes=binary_attributes(head.fields) if form is Form.BINARY else None,
        )

    def _path(self, target: bytes) -> tuple[bytes, bytes]:
        if not target.startswith(b"/") and (match := _ABSOLUTE.fullmatch(target)):
            # A proxy's form: its host counts, not that of the header (RFC 9112, 3.2.2).
            self._guard.check_authority(match[1])
            target = match[2]
        path, _, query = target.partition(b"?")
        return path, query

    def _stream(self, path: bytes) -> str | None:
        """The stream's name; None for /healthz."""
        if match := _PATH.fullmatch(path):
            stream = match[1].decode()
            if self._routed(stream):
                return stream
            raise Refusal(
                404,
                "no sink subscribes to this stream: add it to a sink's streams, "
                'or set ingest.unrouted = "store"',
            )
        if path == b"/healthz":
            return None
        raise Refusal(
            404,
            "there is nothing here: post to /v1/events/{stream}, where {stream} is 1 to 128 "
            "letters, digits, dots, hyphens and underscores, with a letter or digit first",
        )

    def _check_length(self, head: Head) -> None:
        length = head.length
        if length is None and not head.chunked:
            raise Refusal(411, "send Content-Length, or Transfer-Encoding: chunked")
        if length is not None and length > self._max_body:
            raise too_large(self._max_body)


def too_large(max_body: int) -> Refusal:
    """What is said to a body over the bound."""
    return Refusal(413, f"the body is over {max_body} bytes (ingest.max_body): send less at once")


def _form(head: Head) -> Form:
    value = head.fields.get(b"content-type", b"")
    media, _, parameters = value.partition(b";")
    media = media.strip().lower()
    form = _FORMS.get(media) if media else Form.JSON
    # Structured and batched mode come first: there ce- headers are only copies.
    if form in (None, Form.JSON, Form.LINES) and b"ce-specversion" in head.fields:
        form = Form.BINARY if media == b"" or media.endswith((b"/json", b"+json")) else None
    if form is None:
        raise Refusal(
            415,
            "send Content-Type application/json, application/x-ndjson, "
            "application/cloudevents+json or application/cloudevents-batch+json",
        )
    if parameters:
        _check_charset(parameters)
    return form


def _check_charset(parameters: bytes) -> None:
    for parameter in parameters.lower().split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b' "') not in (
            b"utf-8",
            b"utf8",
            b"us-ascii",
        ):
            raise Refusal(415, "send UTF-8: JSON is exchanged in no other encoding")


def _check_expect(head: Head) -> None:
    if head.fields.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise Refusal(417, "the only expectation met is 100-continue")


def _atomic(query: bytes) -> bool:
    values = {
        value
        for name, _, value in (pair.partition(b"=") for pair in query.split(b"&"))
        if name == b"atomic"
    }
    if values - {b"true", b"false"} or len(values) > 1:
        raise Refusal(400, "atomic is true or false")
    return b"true" in values


def _key(head: Head) -> bytes | None:
    key = head.fields.get(b"idempotency-key")
    if key is not None and not 0 < len(key) <= _KEY_MAX:
        raise Refusal(400, f"an Idempotency-Key has 1 to {_KEY_MAX} bytes")
    return key
