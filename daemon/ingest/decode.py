"""From a JSON or NDJSON body to events, byte for byte.

An event's bytes are kept as they came; only line breaks between its tokens are taken out, since
one event is one line in the log. (A string cannot contain a bare line break, so that in valid
JSON every CR and LF stands between tokens.) Blanks around an event may go, or stay in its line.
`max_event` bounds what is kept of an event.

Good bodies never meet Python code per event: msgspec checks line by line (all of JSON but the
encoding of strings, which `bytes.decode` does) under a `map`. Only where that fails do we look at
each line. Passes over a body are counted here: `bytes.count` takes as long as the JSON decoder, so
that lines are cut by BytesIO, whose `memchr` takes a fifth of it.
"""

from io import BytesIO
from operator import itemgetter

import msgspec

from forebay.daemon.ingest.elements import (
    BLANK,
    TOO_DEEP,
    check_utf8,
    one_line,
    one_value,
    split_array,
)
from forebay.daemon.ingest.events import Events, Sieve

_RUN = 256  # lines


class _Object(msgspec.Struct, gc=False):
    """Any JSON object; what is in it is checked and skipped."""


_OBJECTS = {ord("{")}
_first_byte = itemgetter(0)
_object = msgspec.json.Decoder(_Object)


def decode_json(body: bytes, max_event: int) -> Events:
    """One object, or an array of objects. 400 when it is not JSON."""
    if body.lstrip(BLANK).startswith(b"["):
        return _decode_array(body, max_event)
    return decode_one(body, max_event)


def decode_one(body: bytes, max_event: int) -> Events:
    """One object, and no array. 400 when it is not JSON."""
    try:
        _object.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _decode_odd(body, max_event)
    if not body.isascii():
        check_utf8(body)
    event = one_line(body.strip(BLANK))
    if len(event) <= max_event:
        return Events(event, 1)
    sieve = Sieve(max_event)
    sieve.take(1, event)
    return sieve.events()


def _decode_odd(body: bytes, max_event: int) -> Events:
    """A document that is not simply one object: find out what is wrong with it."""
    sieve = Sieve(max_event)
    try:
        sieve.take(1, one_value(body))
    except RecursionError:
        sieve.reject(1, TOO_DEEP)
    return sieve.events()


def decode_lines(body: bytes, max_event: int) -> Events:
    """NDJSON: one object a line, blank lines ignored. `line` counts these too."""
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n")
    text = body.strip(BLANK)
    if not text:
        return Events(b"", 0)
    if (count := _count_clean(text, max_event)) is not None:
        return Events(text, count)
    return _decode_runs(body.rstrip(BLANK).split(b"\n"), max_event)


def _count_clean(text: bytes, max_event: int) -> int | None:
    """How many events `text` is, where each line is a good one, also the last; else None."""
    try:
        count = len(list(map(_object.decode, BytesIO(text))))
    except (msgspec.DecodeError, RecursionError):
        return None
    clean = (
        not text.endswith(b"\n") and b"\r" not in text and _is_utf8(text) and _fits(text, max_event)
    )
    return count if clean else None


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


def _fits(payload: bytes, max_event: int) -> bool:
    """Whether no line is longer than `max_event`; looks at one place for each so many bytes."""
    start = 0
    while len(payload) - start > max_event:
        start = payload.rfind(b"\n", start, start + max_event + 1) + 1
        if not start:
            return False
    return True


def _decode_runs(lines: list[bytes], max_event: int) -> Events:
    """Lines of which some are not clean: look closely only at the runs that these are in."""
    sieve = Sieve(max_event)
    for start in range(0, len(lines), _RUN):
        run = lines[start : start + _RUN]
        text = b"\n".join(run)
        if count := _count_clean(text, max_event):
            sieve.take_all(text, count)
        else:
            _sift(sieve, start + 1, run)
    return sieve.events()


def _sift(sieve: Sieve, first: int, lines: list[bytes]) -> None:
    for number, line in enumerate(lines, start=first):
        event = line.strip(BLANK)
        if not event:
            continue
        if error := _fault(event):
            sieve.reject(number, error)
        else:
            sieve.take(number, one_line(event))


def _fault(event: bytes) -> str | None:
    if not event.startswith(b"{"):
        return "not a JSON object"
    try:
        event.decode()
        _object.decode(event)
    except UnicodeDecodeError:
        return "not valid UTF-8"
    except msgspec.DecodeError as error:
        return f"not valid JSON: {error}"
    except RecursionError:
        return TOO_DEEP
    return None


def _decode_array(body: bytes, max_event: int) -> Events:
    elements = split_array(body)
    shallow = [element for element in elements if element is not None]
    payload = b"\n".join(shallow)
    if len(shallow) == len(elements) and _are_objects(payload) and _fits(payload, max_event):
        return Events(payload, len(elements))
    sieve = Sieve(max_event)
    for number, element in enumerate(elements, start=1):
        if element is None:
            sieve.reject(number, TOO_DEEP)
        else:
            sieve.take(number, bytes(element))
    return sieve.events()


def _are_objects(payload: bytes) -> bool:
    return set(map(_first_byte, BytesIO(payload))) <= _OBJECTS
