import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_kit import Kitchen, request

from forebay.daemon.ingest.cloudevents import identity

STRUCTURED = b"application/cloudevents+json; charset=utf-8"
BATCH = b"application/cloudevents-batch+json"
ATTRIBUTES = '"id": "A-1", "source": "/till/7", "type": "sale", "specversion": "1.0"'
DATA = b'{"amount":1.10,  "n": 12345678901234567890, "b": 1, "a": 2}'
KEEP = {"id": "A-1", "source": "/till/7", "type": "sale", "specversion": "1.0"}
HEADERS = (b"ce-id: A-1", b"ce-source: /till/7", b"ce-type: sale", b"CE-SpecVersion: 1.0")


def envelope(rest: bytes, attributes: str = ATTRIBUTES) -> bytes:
    return b"{%s%s}" % (attributes.encode(), b", " + rest if rest else b"")


async def test_structured_data_is_written_anew(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        rest = (
            b'"time": "2024-05-01T12:00:00Z", "n": 7, "flag": true, "none": null, "data": ' + DATA
        )
        answer = await served.ask(request(envelope(rest), content_type=STRUCTURED))
        (entry,) = served.log.entries
        assert answer.status == 200
        assert entry.payload == DATA
        extra = {"time": "2024-05-01T12:00:00Z", "n": "7", "flag": "true"}
        assert entry.attributes == (KEEP | extra,)


async def test_data_over_several_lines_breaks_the_log(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        rest = b'"data":\r\n {\n "a": "\\n",\r\n "b": 1 }'
        answer = await served.ask(request(envelope(rest), content_type=STRUCTURED))
        assert answer.status == 200
        assert served.log.entries[0].payload == b'{ "a": "\\n", "b": 1 }'


async def test_base64_data_is_not_decoded(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        rest = b'"data_base64": "%s"' % base64.b64encode(DATA)
        await served.ask(request(envelope(rest), content_type=STRUCTURED))
        assert served.log.entries[0].payload == DATA


async def test_binary_attributes_are_lost(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        extra = (b"ce-subject: caf%C3%A9 %22x%22", b'ce-note: "a\\"b%20c"', b"X-Other: 1")
        answer = await served.ask(request(DATA, headers=HEADERS + extra))
        (entry,) = served.log.entries
        assert answer.status == 200
        assert entry.payload == DATA
        more = {"subject": 'café "x"', "note": 'a"b c', "datacontenttype": "application/json"}
        assert entry.attributes == (KEEP | more,)


@pytest.mark.parametrize("content_type", [None, b"application/json", b"application/vnd.x+json"])
async def test_binary_mode_depends_on_the_type(
    content_type: bytes | None, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        await served.ask(request(DATA, content_type=content_type, headers=HEADERS))
        assert served.log.entries[0].event_keys == (identity(KEEP),)


async def test_an_event_has_another_identity_in_another_mode(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        whole = envelope(b'"data": {}')
        await served.ask(request(whole, content_type=STRUCTURED))
        await served.ask(request(b"[%s,%s]" % (whole, whole), content_type=BATCH))
        await served.ask(request(b"{}", headers=HEADERS))
        keys = {key for entry in served.log.entries for key in entry.event_keys}
        assert keys == {identity(KEEP)}
        assert [entry.count for entry in served.log.entries] == [1, 2, 1]


async def test_one_bad_event_spoils_a_batch(kitchen: Kitchen) -> None:
    async with kitchen.served(max_event=512) as served:
        deep = b'{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}"
        good = envelope(b'"data": {"n": 1}')
        bad = [
            b"[]",
            envelope(b'"data": {}', '"id": "1"'),
            envelope(b'"data": [1]'),
            envelope(b'"data": {"a": "%s"}' % (b"x" * 600)),
            envelope(b'"long": "%s", "data": {}' % (b"x" * 600)),
            envelope(b""),
            deep,
        ]
        body = b"[%s]" % b",\n".join([good, *bad, good])
        answer = await served.ask(request(body, content_type=BATCH))
        (entry,) = served.log.entries
        assert answer.body["status"] == "partial_success"
        assert entry.payload == b'{"n": 1}\n{"n": 1}'
        assert len(entry.attributes) == len(entry.event_keys) == 2
        found = [(fault["line"], fault["error"]) for fault in answer.body["errors"]]
        assert [line for line, _ in found] == [2, 3, 4, 5, 6, 7, 8]
        for (_, error), word in zip(
            found,
            ["object", "source, specversion, type", "data", "larger", "larger", "data", "nested"],
            strict=True,
        ):
            assert word in error


@pytest.mark.parametrize(
    "attributes",
    [
        '"source": "s", "type": "t", "specversion": "1.0"',
        '"id": "", "source": "s", "type": "t", "specversion": "1.0"',
        '"id": null, "source": "s", "type": "t", "specversion": "1.0"',
        '"id": 1.5, "source": "s", "type": "t", "specversion": "1.0"',
        '"id": "1", "source": {}, "type": "t", "specversion": "1.0"',
        '"id": "1", "source": "s", "type": "t", "specversion": "0.3"',
        '"id": "1", "source": "s", "type": "t", "specversion": "1.0", "data_base64": ""',
        '"id": "1", "source": "s", "type": "t", "specversion": "1.0", "x": [1]',
    ],
)
async def test_bad_attributes_are_taken(attributes: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        body = envelope(b'"data": {}', attributes)
        assert (await served.ask(request(body, content_type=STRUCTURED))).status == 400
        assert (await served.ask(request(b"[%s]" % body, content_type=BATCH))).status == 422
        assert served.log.entries == []


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b'"data": 1',
        b'"data": null',
        b'"data": "{}"',
        b'"data_base64": "e30"',
        b'"data_base64": 7',
        b'"data_base64": "bm9wZQ=="',
        b'"datacontenttype": "text/xml", "data": {}',
        b'"data": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
async def test_bad_data_blames_the_attributes(rest: bytes, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        answer = await served.ask(request(envelope(rest), content_type=STRUCTURED))
        assert answer.status == 422
        assert answer.body["errors"][0]["line"] == 1
        assert served.log.entries == []


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b"", b'{"id": "\xff"}'])
async def test_a_body_that_is_no_envelope_is_taken(body: bytes, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        assert (await served.ask(request(body, content_type=STRUCTURED))).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        HEADERS[1:],
        (*HEADERS[:3], b"ce-specversion: 0.3"),
        (*HEADERS[1:], b"ce-id: %FF"),
        (*HEADERS[1:], b"ce-id:"),
    ],
)
async def test_bad_binary_headers_are_taken(headers: tuple[bytes, ...], kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        assert (await served.ask(request(b"{}", headers=headers))).status == 400


@pytest.mark.parametrize(("body", "status"), [(b"[{}]", 422), (b"1", 422), (b"", 400), (b"{", 400)])
async def test_binary_data_that_is_no_object_is_taken(
    body: bytes, status: int, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        assert (await served.ask(request(body, headers=HEADERS))).status == status


async def test_headers_override_a_structured_event(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        other = (b"ce-specversion: 1.0", b"ce-id: other")
        body = envelope(b'"data": {}')
        await served.ask(request(body, content_type=STRUCTURED, headers=other))
        assert served.log.entries[0].attributes == (KEEP,)


pairs = st.tuples(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
)


@given(pairs, pairs)
def test_two_events_share_an_identity(one: tuple[str, str], two: tuple[str, str]) -> None:
    keys = [identity({"source": source, "id": name}) for source, name in (one, two)]
    assert (keys[0] == keys[1]) == (one == two)
    assert all(len(key) <= 255 for key in keys)


def test_a_shifted_border_makes_the_same_identity() -> None:
    keys = {identity({"source": "a" * n, "id": "a" * (9 - n)}) for n in range(10)}
    assert len(keys) == 10
