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
from functools import partial
from typing import Final

import msgspec

from forebay.daemon.ingest.cloudevents import (
    binary_attributes,
    decode_batch,
    decode_binary,
    decode_structured,
)
from forebay.daemon.ingest.decode import decode_json, decode_lines
from forebay.daemon.ingest.encoding import codings
from forebay.daemon.ingest.events import Events
from forebay.daemon.ingest.guard import Guard, is_preflight
from forebay.daemon.ingest.head import Head
from forebay.daemon.ingest.refusal import Refusal
from forebay.daemon.ingest.responses import HEALTHY, NO_CONTENT, Reply

_PATH = re.compile(rb"/v1/events/([A-Za-z0-9][A-Za-z0-9._-]{0,127})")
_ABSOLUTE = re.compile(rb"http://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_KEY_MAX = 255

Reader = Callable[[bytes, int], Events]
"""Reads a body; the number is `max_event`."""

_READERS: Final[dict[bytes, Reader]] = {
    b"application/json": decode_json,
    b"application/x-ndjson": decode_lines,
    b"application/jsonl": decode_lines,
    b"application/cloudevents+json": decode_structured,
    b"application/cloudevents-batch+json": decode_batch,
}
# Where ce- headers are only copies of what stands in the body.
_ENVELOPES: Final = (decode_structured, decode_batch)


class Post(msgspec.Struct, frozen=True):
    """Events are coming: for which stream, and how to read them."""

    stream: str
    read: Reader
    codings: tuple[str, ...] = ()
    atomic: bool = False
    key: bytes | None = None


class Router:
    """Judges heads for one listener. `routed` says whether a stream is taken at all."""

    def __init__(self, guard: Guard, routed: Callable[[str], bool], max_body: int) -> None:
        self._guard = guard
        self.cors = guard.cors
        self._routed = routed
        self._max_body = max_body

    def judge(self, head: Head) -> Post | Reply:
        """What is asked for, or the answer itself. Raises Refusal."""
        self._guard.check_source(head)
        path, query = self._path(head.target)
        if head.method != b"POST":
            return self._judge_other(head, path)
        self._guard.check_token(head)
        stream = self._stream(path)
        self._check_length(head)
        fields = head.fields
        read = _reader(fields)
        names = codings(fields[b"content-encoding"]) if b"content-encoding" in fields else ()
        if b"expect" in fields:
            _check_expect(fields[b"expect"])
        if read is None:
            read = partial(decode_binary, attributes=binary_attributes(fields))
        return Post(stream, read, names, bool(query) and _atomic(query), _key(fields))

    def still(self, post: Post, length: int) -> bool:
        """Whether a head that passed would pass now, with this Content-Length and else the same.

        All other checks look at nothing but the head and the options.
        """
        return length <= self._max_body and self._routed(post.stream)

    def _judge_other(self, head: Head, path: bytes) -> Reply:
        if is_preflight(head):
            return NO_CONTENT
        if path == b"/healthz" and head.method in (b"GET", b"HEAD"):
            return HEALTHY
        self._guard.check_token(head)
        self._stream(path)
        raise _not_allowed(b"POST")

    def _path(self, target: bytes) -> tuple[bytes, bytes]:
        if not target.startswith(b"/") and (match := _ABSOLUTE.fullmatch(target)):
            # A proxy's form: its host counts, not that of the header (RFC 9112, 3.2.2).
            self._guard.check_authority(match[1])
            target = match[2]
        path, _, query = target.partition(b"?")
        return path, query

    def _stream(self, path: bytes) -> str:
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
            raise _not_allowed(b"GET, HEAD")
        raise Refusal(
            404,
            "there is nothing here: post to /v1/events/{stream}, where {stream} is 1 to 128 "
            "letters, digits, dots, hyphens and underscores, with a letter or digit first",
        )

    def _check_length(self, head: Head) -> None:
        length = head.length
        if length is None:
            if not head.chunked:
                raise Refusal(411, "send Content-Length, or Transfer-Encoding: chunked")
        elif length > self._max_body:
            raise too_large(self._max_body)


def _not_allowed(methods: bytes) -> Refusal:
    return Refusal(
        405,
        "this method is not for this path; Allow names those that are",
        b"Allow: %s\r\n" % methods,
    )


def too_large(max_body: int) -> Refusal:
    """What is said to a body over the bound."""
    return Refusal(413, f"the body is over {max_body} bytes (ingest.max_body): send less at once")


def _reader(fields: dict[bytes, bytes]) -> Reader | None:
    """How to read the body; None for a CloudEvent in binary mode."""
    value = fields.get(b"content-type") or b"application/json"
    read = _READERS.get(value)
    if read is None:
        media, _, parameters = value.partition(b";")
        media = media.strip().lower()
        read = _READERS.get(media)
        _check_charset(parameters)
    else:
        media = value
    if b"ce-specversion" in fields and read not in _ENVELOPES:
        if media.endswith((b"/json", b"+json")):  # the type is that of the data
            return None
        read = None
    if read is None:
        raise Refusal(
            415,
            "send Content-Type application/json, application/x-ndjson, "
            "application/cloudevents+json or application/cloudevents-batch+json",
        )
    return read


def _check_charset(parameters: bytes) -> None:
    for parameter in parameters.lower().split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b' "') not in (
            b"utf-8",
            b"utf8",
            b"us-ascii",
        ):
            raise Refusal(415, "send UTF-8: JSON is exchanged in no other encoding")


def _check_expect(value: bytes) -> None:
    if value.lower() != b"100-continue":
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


def _key(fields: dict[bytes, bytes]) -> bytes | None:
    key = fields.get(b"idempotency-key")
    if key is not None and not 0 < len(key) <= _KEY_MAX:
        raise Refusal(400, f"an Idempotency-Key has 1 to {_KEY_MAX} bytes")
    return key
