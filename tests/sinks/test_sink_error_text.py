import json

import pytest

from forebay.sinks._error_text import error_code, error_text, shorten

BODIES = {
    b"": "",
    b"plain words\r\nand\x1b[31m more": "plain words and [31m more",
    b'"text in JSON"': "text in JSON",
    b"<html><head><style>b{}</style></head><body><h1>502</h1> Bad<br>Gateway</body></html>": (
        "502 Bad Gateway"
    ),
    b'{"error":{"code":"BadRequest","message":"Bad Request","details":'
    b'[{"message":"Column X is unknown","target":"X"}]}}': (
        "BadRequest: Bad Request: Column X is unknown: X"
    ),
    b'{"error":{"code":"ItemNotFound","message":"Dataset [x] is not Push API dataset."}}': (
        "ItemNotFound: Dataset [x] is not Push API dataset."
    ),
    b'{"error":{"code":"FeatureDeprecatedError","pbi.error":{"code":"FeatureDeprecatedError",'
    b'"details":[{"code":"DetailsMessage","detail":{"type":0,"value":"No longer made"}}]}}}': (
        "FeatureDeprecatedError: DetailsMessage: No longer made"
    ),
    b'{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret",'
    b'"error_codes":[7000215],"trace_id":"1"}': (
        "invalid_client: AADSTS7000215: Invalid client secret"
    ),
    b'{"title":"One or more errors","errors":[{"detail":"too old"}],"status":400}': (
        "One or more errors: too old"
    ),
    b'{"status": "failed"}': '{"status": "failed"}',
    b"\xff\xfe broken": "\ufffd\ufffd broken",
    b'{"error": {"code": "cut': '{"error": {"code": "cut',
}


@pytest.mark.parametrize("body", BODIES)
def test_an_operator_never_sees_an_opaque_error(body: bytes):
    assert error_text(body) == BODIES[body]


def test_a_body_that_nests_without_end_does_not_end_us():
    assert error_text(b"[" * 60_000) == "[" * 4000
    deep = json.dumps({"error": {"error": {"error": {"message": "here"}}}}).encode()
    assert error_text(deep) == "here"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": {"code": "TokenExpired"}}', "TokenExpired"),
        (b'{"error": "invalid_client"}', "invalid_client"),
        (b'{"error": {"code": 7}}', None),
        (b"[]", None),
        (b"TokenExpired", None),
        (b"\xff", None),
    ],
)
def test_codes_are_read_from_where_they_stand_and_nowhere_else(body: bytes, code: str | None):
    assert error_code(body) == code


def test_long_texts_are_cut_where_it_shows():
    assert shorten("a" * 501) == "a" * 499 + "…"
    assert shorten("a" * 500) == "a" * 500
