"""JSON documents, and arrays cut into their elements."""

import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from forebay.daemon.ingest.refusal import Refusal

BLANK: Final = b" \t\r\n"
BREAKS: Final = b"\r\n"
TOO_DEEP: Final = "nested too deeply (about 1000 levels at most)"

# Strings whole, brackets in runs, and commas: all that it takes to find an array's elements.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]+|[\]}]+|,', re.DOTALL)

_any = msgspec.json.Decoder(msgspec.Raw)
_array = msgspec.json.Decoder(list[msgspec.Raw])

T = TypeVar("T")


def parse(decoder: msgspec.json.Decoder[T], document: bytes) -> T:
    """Decode a whole body; 400 when it is not JSON in UTF-8. RecursionError is the caller's."""
    if not document.strip(BLANK):
        raise Refusal(400, "the body is empty: send a JSON object, or an array of objects")
    check_utf8(document)
    try:
        return decoder.decode(document)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"the body is not what its Content-Type says: {error}") from error
    except msgspec.DecodeError as error:
        raise Refusal(400, f"the body is not valid JSON: {error}") from error


def check_utf8(document: bytes) -> None:
    """400 unless a body is UTF-8."""
    try:
        document.decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is not valid UTF-8 (byte {error.start})") from error


def one_line(event: bytes) -> bytes:
    """Valid JSON without its line breaks, which can only stand between tokens."""
    if b"\n" in event or b"\r" in event:
        return event.translate(None, BREAKS)
    return event


def one_value(document: bytes) -> bytes:
    """A document of one value, on one line."""
    return one_line(bytes(parse(_any, document)))


def split_array(document: bytes) -> Sequence[msgspec.Raw | bytes | None]:
    """The elements of an array, each on one line; None for one that is nested too deeply."""
    try:
        if b"\n" in document or b"\r" in document:
            # Line breaks may go only once it is known that none stands inside a string.
            parse(_any, document)
            document = one_line(document)
        return parse(_array, document)
    except RecursionError:
        return [_element(piece) for piece in _pieces(document.strip(BLANK))]


def _element(piece: bytes) -> bytes | None:
    try:
        return one_value(piece)
    except RecursionError:
        return None


def _pieces(array: bytes) -> Iterator[bytes]:
    """What stands between the commas of the outermost brackets. Slow; for odd bodies only."""
    depth, start = 0, 1
    for match in _STRUCTURE.finditer(array):
        token = match.group()
        if token[0] in b"[{":
            depth += len(token)
        elif token[0] in b"]}":
            depth -= len(token)
            if depth <= 0 and match.end() != len(array):
                raise _unbalanced()
        elif depth == 1 and token == b",":
            yield array[start : match.start()]
            start = match.end()
    if depth or not array.endswith(b"]"):
        raise _unbalanced()
    yield array[start:-1]


def _unbalanced() -> Refusal:
    return Refusal(400, "the body is not valid JSON: its brackets do not match")
