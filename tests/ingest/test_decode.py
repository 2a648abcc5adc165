import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.daemon.ingest.decode import decode_json, decode_lines
from forebay.daemon.ingest.events import MAX_FAULTS, Events
from forebay.daemon.ingest.refusal import Refusal

MAX = 1024 * 1024
DEEP = b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"

numbers = st.sampled_from(
    ["1.10", "12345678901234567890", "1e5", "-0", "1E+2", "0.30000000000000004"]
)
scalars = st.one_of(
    numbers,
    st.sampled_from(["true", "false", "null"]),
    # JSON has no lone surrogates that a UTF-8 body could carry.
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    ),
    st.text(st.characters(max_codepoint=0x7F), max_size=4).map(json.dumps),
)
# A document is a list of tokens; white space may stand between any two.
Tokens = list[str]


def _array(items: list[Tokens]) -> Tokens:
    return ["[", *_joined(items), "]"]


def _object(items: list[tuple[str, Tokens]]) -> Tokens:
    return ["{", *_joined([[json.dumps(key), ":", *value] for key, value in items]), "}"]


def _joined(items: list[Tokens]) -> Tokens:
    tokens: Tokens = []
    for item in items:
        tokens += [",", *item] if tokens else item
    return tokens


keys = st.sampled_from(["a", "b", "key", "", "ä", "line\nbreak"])
values = st.recursive(
    scalars.map(lambda token: [token]),
    lambda inner: (
        st.lists(inner, max_size=3).map(_array)
        | st.lists(st.tuples(keys, inner), max_size=3).map(_object)
    ),
    max_leaves=8,
)
objects = st.lists(st.tuples(keys, values), max_size=4).map(_object)
blanks = st.text(" \t", max_size=3)
any_blanks = st.text(" \t\r\n", max_size=3)


def write(tokens: Tokens, data: st.DataObject, blank: st.SearchStrategy[str]) -> bytes:
    return (
        "".join(data.draw(blank) + token for token in tokens).encode() + data.draw(blank).encode()
    )


def compact(event: bytes) -> bytes:
    """The event's tokens, joined: white space outside strings taken out, byte by byte."""
    kept, in_string, escaped = bytearray(), False, False
    for byte in event:
        if in_string or byte not in b" \t\r\n":
            kept.append(byte)
        if in_string and not escaped and byte == ord("\\"):
            escaped = True
            continue
        if byte == ord('"') and not escaped:
            in_string = not in_string
        escaped = False
    return bytes(kept)


def expect(events: Events, documents: list[Tokens]) -> None:
    lines = events.payload.split(b"\n") if events.payload else []
    assert [compact(line) for line in lines] == ["".join(tokens).encode() for tokens in documents]
    assert (events.count, events.rejected, events.faults) == (len(documents), 0, ())
    assert b"\r" not in events.payload


@given(st.data(), st.lists(objects, max_size=4))
def test_an_array_changes_a_token(data: st.DataObject, documents: list[Tokens]) -> None:
    expect(decode_json(write(_array(documents), data, any_blanks), MAX), documents)


@given(st.data(), objects)
def test_an_object_changes_a_token(data: st.DataObject, document: Tokens) -> None:
    expect(decode_json(write(document, data, any_blanks), MAX), [document])


@given(st.data(), st.lists(objects, max_size=5))
def test_lines_change_a_token(data: st.DataObject, documents: list[Tokens]) -> None:
    body = b""
    for document in documents:
        body += b"".join(data.draw(st.lists(st.sampled_from([b"\n", b" \n", b"\r\n"]), max_size=2)))
        body += write(document, data, blanks) + data.draw(st.sampled_from([b"\n", b"\r\n"]))
    expect(decode_lines(body, MAX), documents)


@given(st.data(), st.lists(objects, min_size=1, max_size=5))
def test_a_break_inside_an_event_passes_for_the_end_of_a_line(
    data: st.DataObject, documents: list[Tokens]
) -> None:
    # Whatever is broken over lines, what is taken are lines that are objects each by themselves.
    body = b"\n".join(write(document, data, any_blanks) for document in documents)
    events = decode_lines(body, MAX)
    good = [line.strip() for line in body.split(b"\n") if _is_object(line)]
    kept = [line.strip() for line in events.payload.split(b"\n")]  # blanks around it may stay
    assert kept == [line.translate(None, b"\r") for line in good or [b""]]
    assert events.count == len(good)
    assert events.rejected == sum(bool(line.strip()) for line in body.split(b"\n")) - len(good)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1}{"b":2}\n{"c":3}',
        b'{"a":1} {"b":2}\n\n{"c":3}',
        b'{"a":\n{"b":1}}\n{}{}',
        b'{"a":{}\n}\n{}\n{}{}',
        b'{"a":[{}\n,{}]}',
    ],
)
def test_objects_that_do_not_keep_to_lines_are_miscounted(body: bytes) -> None:
    events = decode_lines(body, MAX)
    lines = body.split(b"\n")
    good = [line for line in lines if _is_object(line)]
    assert events.payload == b"\n".join(good)
    assert [fault.line for fault in events.faults] == [
        number for number, line in enumerate(lines, 1) if line and line not in good
    ]


@pytest.mark.parametrize(
    "number", [b"1.10", b"12345678901234567890", b"1e5", b"-0", b"1E400", b"0.1000"]
)
def test_a_number_is_spelled_anew(number: bytes) -> None:
    event = b'{"b": %s, "a": [%s], "b": 0}' % (number, number)
    assert decode_json(event, MAX).payload == event
    assert decode_json(b"[%s]" % event, MAX).payload == event
    assert decode_lines(event + b"\n", MAX).payload == event


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_a_line_that_is_not_utf8_passes_among_clean_ones(bad: bytes) -> None:
    events = decode_lines(b'{"a":"\xc3\xa9"}\n{"a":"%s"}\n{"b":1}' % bad, MAX)
    assert events.payload == b'{"a":"\xc3\xa9"}\n{"b":1}'
    assert [(fault.line, fault.error) for fault in events.faults] == [(2, "not valid UTF-8")]


def test_a_clean_body_of_lines_is_copied() -> None:
    body = b'{"a": 1}\n{"b": 2}'
    assert decode_lines(body, MAX).payload is body


def test_an_event_is_copied() -> None:
    body = b'{"a": 1}'
    assert decode_json(body, MAX).payload is body


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"[]", "not a JSON object"),
        (b"42", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": Infinity}', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 01}', "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a": "\x01"}', "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b'{"\xff": 1}', "not valid UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not valid UTF-8"),
        (DEEP, "nested too deeply"),
        (b'{"a": "%s"}' % (b"x" * 100_000), "larger than 65536 bytes"),
    ],
)
def test_one_bad_line_spoils_its_neighbours(line: bytes, error: str) -> None:
    events = decode_lines(b'{"n": 1}\n\n' + line + b'\r\n{"n": 2}', 65536)
    assert events.payload == b'{"n": 1}\n{"n": 2}'
    ((number, text),) = [(fault.line, fault.error) for fault in events.faults]
    assert number == 3
    assert error in text


@pytest.mark.parametrize(
    ("element", "error"),
    [
        (b"[1, [2], {}]", "not a JSON object"),
        (b'"a, ] b"', "not a JSON object"),
        (DEEP, "nested too deeply"),
        (b'{"a": "%s"}' % (b"x" * 100_000), "larger than 65536 bytes"),
    ],
)
@pytest.mark.parametrize("blank", [b"", b" ", b"\r\n"])
def test_one_bad_element_spoils_its_neighbours(element: bytes, error: str, blank: bytes) -> None:
    parts = [b'[{"n":"],[\\"{"}', element, b'{"n":[{}]}', b'{"n":3}]']
    events = decode_json((blank + b"," + blank).join(parts) + blank, 65536)
    assert events.payload == b'{"n":"],[\\"{"}\n{"n":[{}]}\n{"n":3}'
    ((number, text),) = [(fault.line, fault.error) for fault in events.faults]
    assert number == 2
    assert error in text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b"[",
        b"[{}",
        b"[{},]",
        b"[{}]]",
        b"{} {}",
        b'{"a": NaN}',
        b'[{"a": NaN}]',
        b'{"a": "\xff"}',
        b'[{"a": "\xff"}]',
        b'{"a": "line\nbreak"}',
        b'[{"a": "line\nbreak"}]',
        b"[" * 100_000,
        b"[" + DEEP,
        b"[" + DEEP + b",]",
        b"[" + DEEP + b"],[]",
        b"[" + DEEP + b",nope]",
        b"[" + DEEP + b"}]",
    ],
)
def test_a_broken_document_is_taken_in_part(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decode_json(body, MAX)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"42", b'"a"', b"null", DEEP])
def test_a_document_that_is_no_object_blames_the_body(body: bytes) -> None:
    events = decode_json(body, MAX)
    assert (events.count, events.rejected, events.faults[0].line) == (0, 1, 1)


@pytest.mark.parametrize("body", [b"[]", b" [ ] "])
def test_an_empty_array_is_a_fault(body: bytes) -> None:
    assert decode_json(body, MAX) == Events(b"", 0)


@pytest.mark.parametrize("body", [b"", b"\n\n", b" \r\n\t"])
def test_no_lines_are_a_fault(body: bytes) -> None:
    assert decode_lines(body, MAX) == Events(b"", 0)


def test_a_line_break_counts_against_an_event() -> None:
    event = b'{"a":\r\n1}'
    assert decode_json(event, len(event) - 2).count == 1
    assert decode_json(event, len(event) - 3).rejected == 1
    assert decode_lines(b'{"a":1}\r\n' * 3, len(b'{"a":1}')).count == 3


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(8, 40))
def test_the_bound_of_an_event_is_missed(sizes: list[int], most: int) -> None:
    lines = [b'{"a":"%s"}' % (b"x" * size) for size in sizes]
    good = [line for line in lines if len(line) <= most]
    for events in (
        decode_lines(b"\n".join(lines), most),
        decode_json(b"[%s]" % b",".join(lines), most),
    ):
        assert events.payload == b"\n".join(good)
        assert events.rejected == len(lines) - len(good)


@pytest.mark.parametrize("bad", [0, 255, 256, 257, 700])
def test_a_bad_line_among_many_is_misnumbered(bad: int) -> None:
    lines = [b'{"n":%d}' % number for number in range(1000)]
    good = lines[:bad] + lines[bad + 1 :]
    lines[bad] = b"{nope}"
    for end in (b"\n", b"\r\n"):
        events = decode_lines(end.join(lines) + end, MAX)
        assert events.payload == b"\n".join(good)
        assert [fault.line for fault in events.faults] == [bad + 1]


def test_faults_are_listed_without_end() -> None:
    events = decode_lines(b"nope\n" * (MAX_FAULTS + 5), MAX)
    assert len(events.faults) == MAX_FAULTS
    assert events.rejected == MAX_FAULTS + 5


@pytest.mark.parametrize("blank", range(254, 259))
def test_a_blank_line_is_kept(blank: int) -> None:
    lines = [b'{"n":%d}' % number for number in range(600)]
    body = [*lines[:blank], b"", *lines[blank:], b"nope", b"", b""]
    events = decode_lines(b"\n".join(body), MAX)
    assert events.payload == b"\n".join(lines)
    assert (events.count, [fault.line for fault in events.faults]) == (600, [602])


@given(st.binary(max_size=40) | st.text('[]{}",:\\ \n\r1aé', max_size=40).map(str.encode))
def test_odd_bytes_crash_the_decoder(body: bytes) -> None:
    # What is taken is what Python's own decoder takes, too.
    for decode in (decode_json, decode_lines):
        events = taken(decode, body)
        lines = events.payload.split(b"\n") if events.count else []
        assert all(_is_object(line) for line in lines)
        assert len(lines) == events.count


def taken(decode: Callable[[bytes, int], Events], body: bytes) -> Events:
    """The events of a body; none where it is refused as a whole."""
    try:
        return decode(body, MAX)
    except Refusal as refusal:
        if refusal.status != 400:
            raise
        return Events(b"", 0)
