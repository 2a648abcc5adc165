from email.utils import formatdate
from typing import Any

import pytest
from sink_helpers import EPOCH

from forebay.sinks import Answer, Hold, Rejected, Retry, TooLarge
from forebay.sinks._http import Reply
from forebay.sinks._http_answers import answer_to, retry_after


def judge(status: int, body: bytes = b"", **headers: Any):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answer_to(Reply(status, named, body), wall_clock=lambda: EPOCH, mask=str, hint="Do it")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success_is_not_taken_for_a_failure(status: int):
    assert judge(status) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected), (422, Rejected), (413, TooLarge),
        (408, Retry), (425, Retry), (429, Retry), (500, Retry), (502, Retry), (503, Retry),
        (504, Retry), (599, Retry),
        (301, Hold), (302, Hold), (304, Hold), (307, Hold), (401, Hold), (403, Hold), (404, Hold),
        (405, Hold), (410, Hold), (411, Hold), (415, Hold), (418, Hold), (451, Hold),
    ],
)  # fmt: skip
def test_each_status_has_its_answer(status: int, kind: type[Answer] | None):
    answer = judge(status, b"because")
    assert type(answer) is kind
    assert answer.status == status
    assert answer.reason.startswith(f"HTTP {status}: because")
    assert answer.reason.endswith("Do it") == (kind is Hold)


@pytest.mark.parametrize(
    ("status", "headers", "ambiguous", "throttled"),
    [
        (429, {}, False, True),
        (429, {"Retry_After": "7"}, False, True),
        (425, {}, False, False),
        (408, {}, True, False),
        (500, {"Retry_After": "7"}, True, False),
        (503, {}, True, False),
        (503, {"Retry_After": "7"}, True, True),
        (503, {"Retry_After": "soon"}, True, False),
    ],
)
def test_throttling_does_not_open_the_breaker_and_doubt_is_told(
    status: int, headers: dict[str, str], ambiguous: bool, throttled: bool
):
    answer = judge(status, **headers)
    assert (answer.ambiguous, answer.throttled) == (ambiguous, throttled)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("3599.5", 3599.5),
        ("86400", 86400.0),
        (formatdate(EPOCH + 3600, usegmt=True), 3600.0),
        ("Sun, 22 Nov 2026 10:30:00 -0000", 1800.0),
        (formatdate(EPOCH - 1), None),
        ("-5", None),
        ("1e3", None),
        ("9" * 400, None),
        ("nan", None),
        ("soon", None),
        ("Sun, 99 Nov 2026 10:30:00 GMT", None),
        ("Sun, 22 Nov 99999999999 10:30:00 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_a_wait_is_taken_as_asked_and_garbage_for_nothing(value: Any, seconds: float | None):
    assert retry_after(value, lambda: EPOCH) == seconds


def test_an_empty_body_still_says_something():
    assert judge(404).reason == "HTTP 404: Not Found, without an explanation. Do it"
    assert judge(460).reason == "HTTP 460: without an explanation. Do it"
    told = judge(401, WWW_Authenticate='Bearer error="invalid_token"', RequestId="r-1")
    assert told.reason == 'HTTP 401: Bearer error="invalid_token" (request r-1). Do it'
