"""CloudEvents 1.0 over HTTP: structured, batched and binary mode.

The event is the bytes of `data`, which must be a JSON object; the attributes are kept beside it
as text (a Boolean as true or false, an integer in decimal, as the specification spells them).

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

import hashlib
import re
from base64 import b64decode
from urllib.parse import unquote_to_bytes

import msgspec

from forebay.daemon.ingest.decode import decode_one
from forebay.daemon.ingest.elements import TOO_DEEP, parse, split_array
from forebay.daemon.ingest.events import Attributes, Events, Sieve
from forebay.daemon.ingest.refusal import Refusal

_REQUIRED = ("id", "source", "specversion", "type")
_KEY_MAX = 255
_JSON_TYPE = re.compile(r"[^/;]+/([^/;]+\+)?json\s*(;.*)?", re.IGNORECASE | re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)

Members = dict[str, msgspec.Raw]

_envelope = msgspec.json.Decoder(Members)
_scalar = msgspec.json.Decoder(str | bool | int | None)
_text = msgspec.json.Decoder(str)


class _EnvelopeError(Exception):
    """The attributes are not those of a CloudEvent."""


class _DataError(Exception):
    """The attributes are fine, the data is not."""


def decode_structured(body: bytes, max_event: int) -> Events:
    """One CloudEvent as JSON. 400 when it is not one; its data may still be rejected."""
    sieve = Sieve(max_event)
    try:
        _sift(sieve, 1, parse(_envelope, body), max_event)
    except RecursionError:
        sieve.reject(1, TOO_DEEP)
    except _EnvelopeError as error:
        raise Refusal(400, f"this is not a CloudEvent: {error}") from error
    return sieve.events()


def decode_batch(body: bytes, max_event: int) -> Events:
    """A JSON array of CloudEvents, each good or bad on its own."""
    sieve = Sieve(max_event)
    for number, element in enumerate(split_array(body), start=1):
        if element is None:
            sieve.reject(number, TOO_DEEP)
            continue
        try:
            _sift(sieve, number, _envelope.decode(element), max_event)
        except msgspec.ValidationError:
            sieve.reject(number, "not a JSON object")
        except _EnvelopeError as error:
            sieve.reject(number, f"not a CloudEvent: {error}")
    return sieve.events()


def decode_binary(body: bytes, max_event: int, attributes: Attributes) -> Events:
    """One CloudEvent whose data is the body, and whose attributes were in the head."""
    events = decode_one(body, max_event)
    if not events.count:
        return events
    return Events(events.payload, 1, attributes=(attributes,), keys=(identity(attributes),))


def binary_attributes(fields: dict[bytes, bytes]) -> Attributes:
    """The attributes in the `ce-*` fields of a head. 400 when they are not a CloudEvent's."""
    attributes = {
        name[3:].decode("latin-1"): _unescape(name, value)
        for name, value in fields.items()
        if name.startswith(b"ce-")
    }
    if content_type := fields.get(b"content-type"):
        attributes["datacontenttype"] = content_type.decode("latin-1")
    try:
        _check(attributes)
    except _EnvelopeError as error:
        raise Refusal(400, f"the ce- headers are not a CloudEvent's: {error}") from error
    return attributes


def identity(attributes: Attributes) -> bytes:
    """`source` and `id` as one key of at most 255 bytes; different pairs differ."""
    key = msgspec.json.encode([attributes["source"], attributes["id"]])
    # A JSON array and a digest cannot be taken for each other: one begins with a bracket.
    return key if len(key) <= _KEY_MAX else hashlib.blake2b(key).hexdigest().encode()


def _sift(sieve: Sieve, line: int, members: Members, max_event: int) -> None:
    attributes = _attributes(members)
    if sum(map(len, attributes.values())) > max_event:
        sieve.reject(line, f"attributes larger than {max_event} bytes (ingest.max_event)")
        return
    try:
        events = decode_one(_data(members, attributes), max_event)
    except _DataError as error:
        sieve.reject(line, str(error))
    except Refusal as refusal:
        sieve.reject(line, f"data: {refusal.error}")
    else:
        _pass_on(sieve, line, events, attributes)


def _pass_on(sieve: Sieve, line: int, events: Events, attributes: Attributes) -> None:
    if events.count:
        sieve.take_with(line, events.payload, attributes, identity(attributes))
    else:
        sieve.reject(line, f"data: {events.faults[0].error}")


def _attributes(members: Members) -> Attributes:
    if "data" in members and "data_base64" in members:
        raise _EnvelopeError("it has data and data_base64; send one")
    attributes: Attributes = {}
    for name, raw in members.items():
        if name in ("data", "data_base64"):
            continue
        value = _attribute(name, raw)
        if value is not None:  # null is the same as none (JSON format, 2.2)
            attributes[name] = value
    _check(attributes)
    return attributes


def _attribute(name: str, raw: msgspec.Raw) -> str | None:
    try:
        value = _scalar.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        raise _EnvelopeError(f"{name} is not a string, Boolean or integer") from None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None else str(value)


def _check(attributes: Attributes) -> None:
    if missing := [name for name in _REQUIRED if not attributes.get(name)]:
        raise _EnvelopeError(f"it needs {', '.join(missing)}")
    if attributes["specversion"] != "1.0":
        raise _EnvelopeError("the specversion taken is 1.0")


def _data(members: Members, attributes: Attributes) -> bytes:
    if not _JSON_TYPE.fullmatch(attributes.get("datacontenttype", "application/json")):
        raise _DataError("datacontenttype is not JSON")
    if "data" in members:
        return bytes(members["data"])
    if "data_base64" not in members:
        raise _DataError("it has no data; data must be a JSON object")
    try:
        return b64decode(_text.decode(members["data_base64"]), validate=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise _DataError("data_base64 is not valid base64") from error


def _unescape(name: bytes, value: bytes) -> str:
    # First the quotes, then one round of percent-decoding (HTTP binding, 3.1.3.2).
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, f"{name.decode('latin-1')} is not percent-encoded UTF-8") from error
