"""Every row of the contract's table of statuses, over both listeners."""

import gzip
import json
import zlib

import pytest
from ingest_kit import EVENT, JSON, LINES, Kitchen, ScriptedLog, answers, request

from forebay.buffer.entry import Receipt
from forebay.buffer.errors import BufferFault, BufferFull, BufferUnavailable

BAD = b'{"id": 1}\nnope\n'
CLOUD = b"application/cloudevents+json"

ROWS = {
    "200 one object": (200, request()),
    "200 without a type": (200, request(content_type=None)),
    "200 an array": (200, request(b'[{"a": 1}, {"b": 2}]')),
    "200 lines": (200, request(EVENT + b"\n" + EVENT, content_type=LINES)),
    "200 jsonl": (200, request(EVENT, content_type=b"application/jsonl")),
    "200 an empty array": (200, request(b"[]")),
    "200 no lines": (200, request(b"", content_type=LINES)),
    "200 blank lines": (200, request(b"\n \n", content_type=LINES)),
    "200 some are bad": (200, request(BAD, content_type=LINES)),
    "200 gzip": (200, request(gzip.compress(EVENT), headers=(b"Content-Encoding: gzip",))),
    "200 healthz": (200, request(b"", b"/healthz", method=b"GET", length=False)),
    "200 an absolute target": (200, request(path=b"http://localhost:1/v1/events/bookings")),
    "400 broken JSON": (400, request(b"{")),
    "400 empty": (400, request(b"")),
    "400 not UTF-8": (400, request(b'{"a": "\xff"}')),
    "400 NaN in a document": (400, request(b'{"a": NaN}')),
    "400 broken gzip": (400, request(b"nope", headers=(b"Content-Encoding: gzip",))),
    "400 bad ce- headers": (400, request(headers=(b"ce-specversion: 1.0",))),
    "400 a structured CloudEvent without attributes": (
        400,
        request(b'{"data": {}}', content_type=CLOUD),
    ),
    "400 atomic is neither true nor false": (400, request(path=b"/v1/events/bookings?atomic=1")),
    "400 an endless key": (400, request(headers=(b"Idempotency-Key: " + b"k" * 256,))),
    "403 a web page": (403, request(headers=(b"Origin: https://example.com",))),
    "403 a web page without an address": (403, request(headers=(b"Origin: null",))),
    "404 no such path": (404, request(path=b"/v1/event/bookings")),
    "404 a bad stream name": (404, request(path=b"/v1/events/-bookings")),
    "404 a stream name too long": (404, request(path=b"/v1/events/" + b"b" * 129)),
    "404 a percent in a name": (404, request(path=b"/v1/events/book%69ngs")),
    "404 no sink": (404, request(path=b"/v1/events/unheard-of")),
    "404 before 405": (404, request(path=b"/v1/events/unheard-of", method=b"GET")),
    "405 GET": (405, request(b"", method=b"GET", length=False)),
    "405 PUT": (405, request(method=b"PUT")),
    "405 POST to healthz": (405, request(path=b"/healthz")),
    "411 no length": (411, request(b"", length=False)),
    "413 before the body": (413, request(b"", length=False, headers=(b"Content-Length: 5000",))),
    "413 decoded": (
        413,
        request(zlib.compress(b" " * 5000), headers=(b"Content-Encoding: deflate",)),
    ),
    "415 a type": (415, request(content_type=b"text/plain")),
    "415 a charset": (415, request(content_type=b"application/json; charset=latin1")),
    "415 an encoding": (415, request(headers=(b"Content-Encoding: br",))),
    "415 a binary CloudEvent of XML": (
        415,
        request(content_type=b"text/xml", headers=(b"ce-specversion: 1.0",)),
    ),
    "417 an expectation": (417, request(headers=(b"Expect: miracles",))),
    "422 the only event is bad": (422, request(b"42")),
    "422 all lines are bad": (422, request(b"nope\n[]\n", content_type=LINES)),
    "422 too large": (422, request(b'{"a": "%s"}' % (b"x" * 600))),
    "422 atomic": (422, request(BAD, b"/v1/events/bookings?atomic=true", content_type=LINES)),
    "422 data is no object": (
        422,
        request(
            b'{"id":"1","source":"s","type":"t","specversion":"1.0","data":1}', content_type=CLOUD
        ),
    ),
    "431 too many fields": (431, request(headers=tuple(b"X-%d: 1" % n for n in range(200)))),
}


@pytest.mark.parametrize("row", ROWS)
async def test_a_status_differs_from_the_contract(
    row: str, listener: str, kitchen: Kitchen
) -> None:
    status, data = ROWS[row]
    async with kitchen.served(max_body=4096, max_event=512) as served:
        answer = await served.ask(data, listener)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.body["status"] in _words(status)
        assert status == 200 or not served.log.entries
        code = str(status)
        assert served.metric("forebay_ingest_requests_total", listener=listener, code=code) == 1


def _words(status: int) -> set[str]:
    return {"success", "partial_success", "ok"} if status == 200 else {"failed"}


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"X: 1", 401),
        (b"Authorization: Bearer wrong", 401),
        (b"Authorization: Basic sesame", 401),
        (b"Authorization: Bearer", 401),
        (b"Authorization: Bearer \xff", 401),
        (b"Authorization: bearer sesame", 200),
        (b"Authorization: Bearer sesame", 200),
    ],
)
async def test_a_request_passes_without_the_token(
    line: bytes, status: int, listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served(token="sesame") as served:
        answer = await served.ask(request(headers=(line,)), listener)
        assert answer.status == status
        assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
        assert b"sesame" not in answer.raw


async def test_a_health_check_needs_the_token(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served(token="sesame") as served:
        answer = await served.ask(request(b"", b"/healthz", method=b"GET"), listener)
        assert answer.status == 200


async def test_an_unknown_path_is_told_to_those_without_the_token(kitchen: Kitchen) -> None:
    async with kitchen.served(token="sesame") as served:
        assert (await served.ask(request(path=b"/nowhere"))).status == 401


async def test_a_foreign_host_is_taken_on_tcp_or_refused_on_the_socket(
    listener: str, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        answer = await served.ask(request(host=b"evil.example"), listener)
        assert answer.status == (403 if listener == "tcp" else 200)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("fault", "status"), [(BufferFull("full"), 429), (BufferUnavailable("no disk"), 503)]
)
async def test_a_log_that_refuses_is_not_told(
    fault: BufferFault, status: int, late: bool, listener: str, kitchen: Kitchen
) -> None:
    log = ScriptedLog(fault)
    log.late = late
    async with kitchen.served(log) as served:
        first, second = answers(await served.talk(request() * 2, listener))
        assert (first.status, first.headers["retry-after"]) == (status, "1")
        assert first.body == {"status": "failed", "error": str(fault)}
        assert second.status == 200  # the log has recovered, and so has the connection


async def test_a_request_is_taken_while_stopping(listener: str, kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        reader, writer = await served.connect(listener)
        writer.write(request())
        first = await reader.readuntil(b"}")
        served.server.stop_accepting()
        writer.write(request() * 2)
        writer.write_eof()
        (answer,) = answers(await reader.read())
        assert b'"status": "success"' in first
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["connection"] == "close"
        assert len(served.log.entries) == 1


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [(b"GET", b"/v1/events/bookings", "POST"), (b"PUT", b"/healthz", "GET, HEAD")],
)
async def test_405_does_not_say_what_is_allowed(
    method: bytes, path: bytes, allow: str, kitchen: Kitchen
) -> None:
    async with kitchen.served() as served:
        answer = await served.ask(request(method=method, path=path))
        assert (answer.status, answer.headers["allow"]) == (405, allow)


async def test_a_stream_without_sinks_is_refused_though_it_should_be_stored(
    kitchen: Kitchen,
) -> None:
    async with kitchen.served(unrouted="store") as served:
        assert (await served.ask(request(path=b"/v1/events/unheard-of"))).status == 200
        assert served.log.entries[0].stream == "unheard-of"


BOTH = [
    # Of two faults the one that the contract checks first is told.
    (403, request(path=b"/nowhere", host=b"evil.example")),
    (401, request(path=b"/nowhere", headers=())),
    (404, request(path=b"/nowhere", method=b"PUT", headers=(b"Authorization: Bearer t",))),
    (405, request(method=b"PUT", content_type=b"x/y", headers=(b"Authorization: Bearer t",))),
    (411, request(b"", length=False, headers=(b"Authorization: Bearer t",))),
    (415, request(b"{", content_type=b"x/y", headers=(b"Authorization: Bearer t",))),
    (
        415,
        request(
            headers=(b"Authorization: Bearer t", b"ce-specversion: 9", b"Content-Encoding: br")
        ),
    ),
    (400, request(b"{", headers=(b"Authorization: Bearer t", b"Content-Encoding: gzip"))),
]


@pytest.mark.parametrize(("status", "data"), BOTH)
async def test_checks_come_in_another_order(status: int, data: bytes, kitchen: Kitchen) -> None:
    async with kitchen.served(token="t") as served:
        assert (await served.ask(data)).status == status


async def test_a_full_log_hides_a_bad_event(kitchen: Kitchen) -> None:
    async with kitchen.served(ScriptedLog(BufferFull("full"))) as served:
        assert (await served.ask(request(b"42"))).status == 422
        assert (await served.ask(request())).status == 429


async def test_success_is_spelled_otherwise_than_in_the_contract(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        body = b'[{"a": 1}, {"b": 2}, {"c": 3}]'
        answer = await served.ask(request(body))
        assert answer.raw == (
            b'{"status": "success", "accepted": 3, "duplicates": 0, "rejected": 0, '
            b'"first_seq": 1, "last_seq": 3}'
        )


async def test_a_partial_success_does_not_name_the_bad_line(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        lines = b'{"a": 1}\n[]\n\n{"b": 2}\n{"c": }\n'
        answer = await served.ask(request(lines, content_type=LINES))
        body = answer.body
        errors = body.pop("errors")
        assert body == {
            "status": "partial_success",
            "accepted": 2,
            "duplicates": 0,
            "rejected": 2,
            "first_seq": 1,
            "last_seq": 2,
        }
        assert errors[0] == {"line": 2, "error": "not a JSON object"}
        assert errors[1]["line"] == 5
        assert served.log.entries[0].payload == b'{"a": 1}\n{"b": 2}'


async def test_an_atomic_request_leaves_a_part_behind(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        path = b"/v1/events/bookings?x=y&atomic=true"
        answer = await served.ask(request(BAD, path, content_type=LINES))
        error = answer.body["errors"][0]
        assert answer.body | {"errors": []} == {
            "status": "failed",
            "accepted": 0,
            "duplicates": 0,
            "rejected": 1,
            "first_seq": None,
            "last_seq": None,
            "errors": [],
        }
        assert error["line"] == 2
        assert served.log.entries == []


async def test_nothing_new_claims_to_have_a_seq(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        answer = await served.ask(request(b"[]"))
        assert answer.body == {
            "status": "success",
            "accepted": 0,
            "duplicates": 0,
            "rejected": 0,
            "first_seq": None,
            "last_seq": None,
        }
        assert served.log.entries == []


@pytest.mark.parametrize(
    ("receipt", "expected"),
    [
        (Receipt(0, 2), {"accepted": 0, "duplicates": 2, "first_seq": None, "last_seq": None}),
        (Receipt(1, 1, 0, 7, 7), {"accepted": 1, "duplicates": 1, "first_seq": 7, "last_seq": 7}),
        (Receipt(0, 0, 2), {"accepted": 0, "dropped": 2, "first_seq": None, "last_seq": None}),
    ],
)
async def test_a_receipt_is_not_passed_on(
    receipt: Receipt, expected: dict[str, int | None], kitchen: Kitchen
) -> None:
    async with kitchen.served(ScriptedLog(receipt)) as served:
        answer = await served.ask(request(b'[{"a": 1}, {"b": 2}]'))
        want = {"status": "success", "duplicates": 0, "rejected": 0} | expected
        assert answer.status == 200
        assert answer.body == want


async def test_an_answer_lists_a_million_faults(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        answer = await served.ask(request(b"1\n" * 5000, content_type=LINES))
        assert answer.status == 422
        assert answer.body["rejected"] == 5000
        assert [error["line"] for error in answer.body["errors"]] == list(range(1, 101))


async def test_a_key_is_lost_on_the_way_to_the_log(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        await served.ask(request(headers=(b"Idempotency-Key:  k\xc3\xa9y ",)))
        assert served.log.entries[0].key == b"k\xc3\xa9y"


async def test_healthz_has_a_body_for_head(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        data = await served.talk(request(b"", b"/healthz", method=b"HEAD", length=False))
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: %d" % len(json.dumps({"status": "ok"})) in head
        assert body == b""


async def test_a_parameter_of_the_type_hides_it(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        kind = b'Application/JSON ; charset="UTF-8"; q=1'
        assert (await served.ask(request(content_type=kind))).status == 200
        assert (await served.ask(request(content_type=JSON + b"; charset=utf-16"))).status == 415
