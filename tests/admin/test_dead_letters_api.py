"""Dead letters over HTTP: nothing of them is changed, and nothing is meant that was not said."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from letters_kit import EVENT, Plane, serving


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with serving(tmp_path) as plane:
        yield plane


async def listed(plane: Plane, query: str = "") -> Any:
    status, body = await plane.ask("GET", f"/v1/dead-letters{query}")
    assert status == 200, body
    return json.loads(body)


async def ids(plane: Plane, query: str = "") -> list[int]:
    return [item["id"] for item in (await listed(plane, query))["items"]]


async def order(plane: Plane, verb: str, **body: Any) -> tuple[int, Any]:
    status, answer = await plane.ask("POST", f"/v1/dead-letters/{verb}", json=body)
    return status, json.loads(answer)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_letter_has_the_fields_of_the_contract_and_its_own_bytes(plane: Plane):
    (id_,) = await plane.bury("sales", EVENT)
    status, body = await plane.ask("GET", "/v1/dead-letters")
    assert status == 200
    assert EVENT in body
    answer = json.loads(body)
    assert answer["next"] is None
    (item,) = answer["items"]
    assert item.pop("event")["n"] == 1.1
    assert item == {
        "id": id_,
        "sink": "sales",
        "stream": "bookings",
        "seq": 1,
        "received_at": "2023-11-14T22:13:20.000+00:00",
        "failed_at": "2023-11-14T22:14:20.500+00:00",
        "attempts": 2,
        "status": 400,
        "error": "Bad Request",
    }


async def test_attributes_are_there_where_an_event_had_some(plane: Plane):
    attributes = {"id": "7", "source": "/desk", "type": "booked"}
    await plane.bury("sales", b"{}")
    await plane.bury("sales", b"{}", attributes=attributes, status=None)
    plain, cloud = (await listed(plane))["items"]
    assert "attributes" not in plain
    assert (cloud["attributes"], cloud["status"]) == (attributes, None)


async def test_one_letter_is_the_same_as_in_the_list(plane: Plane):
    first, second = await plane.bury("sales", b'{"n":1.0}', b'{"n":2}')
    status, body = await plane.ask("GET", f"/v1/dead-letters/{first}")
    assert status == 200
    assert b'"event":{"n":1.0}' in body
    assert json.loads(body) == (await listed(plane))["items"][0]
    status, body = await plane.ask("GET", f"/v1/dead-letters/{second + 1}")
    assert (status, f"no dead letter {second + 1}" in body.decode()) == (404, True)


async def test_nothing_to_list_is_an_empty_page(plane: Plane):
    assert await listed(plane) == {"items": [], "next": None}
    assert await listed(plane, "?after=9223372036854775807") == {"items": [], "next": None}


async def test_pages_have_every_letter_once_and_the_last_one_says_so(plane: Plane):
    made = await plane.bury("sales", *(b'{"n":%d}' % n for n in range(10)))
    for limit in (1, 3, 5, 10, 1000):
        after, seen, pages = 0, [], 0
        while after is not None:
            page = await listed(plane, f"?limit={limit}&after={after}")
            seen += [item["id"] for item in page["items"]]
            assert len(page["items"]) <= limit
            after, pages = page["next"], pages + 1
        assert seen == made
        assert pages == -(-10 // limit), "a page too many"


async def test_a_page_of_large_events_ends_early_and_says_how_to_go_on(plane: Plane):
    large = [b'{"n":%d,"pad":"%s"}' % (n, b"x" * 900_000) for n in range(20)]
    made = await plane.bury("sales", *large)
    page = await listed(plane, "?limit=1000")
    assert 1 <= len(page["items"]) < 20
    seen = [item["id"] for item in page["items"]]
    while page["next"] is not None:
        page = await listed(plane, f"?after={page['next']}&limit=1000")
        seen += [item["id"] for item in page["items"]]
    assert seen == made


async def test_without_a_limit_a_page_has_a_hundred(plane: Plane):
    await plane.bury("sales", *[b"{}"] * 101)
    assert len(await ids(plane)) == 100
    assert len(await ids(plane, "?limit=")) == 100
    assert len(await ids(plane, "?limit=1000")) == 101


async def test_filters_narrow_together(plane: Plane):
    a = await plane.bury("sales", b"{}", stream="bookings")
    b = await plane.bury("sales", b"{}", stream="refunds")
    c = await plane.bury("other", b"{}", stream="refunds")
    assert await ids(plane, "?sink=sales") == a + b
    assert await ids(plane, "?stream=refunds") == b + c
    assert await ids(plane, "?sink=sales&stream=refunds") == b
    assert await ids(plane, "?stream=nobody") == []
    assert await ids(plane, "?sink=&stream=") == a + b + c


@pytest.mark.parametrize("text", ["0", "1001", "-1", "x", "1.5", "%D9%A1", "9" * 5000])
async def test_a_limit_that_is_none_says_what_one_is(plane: Plane, text: str):
    status, body = await plane.ask("GET", f"/v1/dead-letters?limit={text}")
    assert (status, json.loads(body)["error"]) == (
        400,
        "limit must be a whole number from 1 to 1000",
    )


@pytest.mark.parametrize("text", ["-1", "x", "9223372036854775808"])
async def test_an_after_that_is_no_id_is_refused(plane: Plane, text: str):
    status, _ = await plane.ask("GET", f"/v1/dead-letters?after={text}")
    assert status == 400


async def test_a_mistyped_sink_is_not_taken_for_one_without_dead_letters(plane: Plane):
    status, body = await plane.ask("GET", "/v1/dead-letters?sink=slaes")
    assert status == 404
    assert "there are: gone, other, sales" in json.loads(body)["error"]


# ── replay and purge ─────────────────────────────────────────────────────────────────────────────


async def test_named_letters_are_replayed_for_their_own_sink(plane: Plane):
    first, second, third = await plane.bury("sales", b"{}", b"{}", b"{}")
    (foreign,) = await plane.bury("other", b"{}")
    asked = [first, third, third, foreign, 999]
    assert await order(plane, "replay", sink="sales", ids=asked) == (200, {"replayed": 2})
    assert await plane.in_line() == [first, third]
    assert await ids(plane) == [second, foreign]
    assert plane.store.sink("sales").replayed == 2
    assert await order(plane, "replay", sink="sales", ids=asked) == (200, {"replayed": 0})


async def test_all_is_all_of_one_sink(plane: Plane):
    await plane.bury("sales", b"{}", b"{}")
    others = await plane.bury("other", b"{}")
    assert await order(plane, "replay", sink="sales", all=True) == (200, {"replayed": 2})
    assert await ids(plane) == others


async def test_all_of_a_stream_leaves_the_others(plane: Plane):
    kept = await plane.bury("sales", b"{}", stream="bookings")
    await plane.bury("sales", b"{}", b"{}", stream="refunds")
    answer = await order(plane, "purge", sink="sales", all=True, stream="refunds")
    assert answer == (200, {"purged": 2})
    assert await ids(plane) == kept


async def test_purging_changes_the_gauge_and_no_counter(plane: Plane):
    made = await plane.bury("sales", b"{}", b"{}")
    before = plane.store.sink("sales")
    assert await order(plane, "purge", sink="sales", ids=made[:1]) == (200, {"purged": 1})
    after = plane.store.sink("sales")
    assert (before.dead_letters, after.dead_letters) == (2, 1)
    assert (after.dead_lettered, after.replayed, after.discarded, after.lag) == (2, 0, 0, 0)
    assert await ids(plane) == made[1:]


async def test_no_ids_are_no_letters(plane: Plane):
    made = await plane.bury("sales", b"{}")
    assert await order(plane, "purge", sink="sales", ids=[]) == (200, {"purged": 0})
    assert await ids(plane) == made


async def test_with_a_limit_the_answer_says_how_to_go_on(plane: Plane):
    made = await plane.bury("sales", *[b"{}"] * 5)
    body: dict[str, Any] = {"sink": "sales", "all": True, "limit": 2}
    assert await order(plane, "replay", **body) == (200, {"replayed": 2, "next": made[1]})
    # What comes back meanwhile is behind, and not sent round and round.
    body["after"] = made[1]
    assert await order(plane, "replay", **body) == (200, {"replayed": 2, "next": made[3]})
    body["after"] = made[3]
    assert await order(plane, "replay", **body) == (200, {"replayed": 1, "next": None})


async def test_more_than_one_transactions_worth_is_one_answer(plane: Plane):
    await plane.bury("sales", *[b"{}"] * 2300)
    assert await order(plane, "replay", sink="sales", all=True) == (200, {"replayed": 2300})
    assert plane.store.sink("sales").dead_letters == 0


async def test_nobody_would_deliver_what_is_replayed_to_a_sink_that_left_the_file(plane: Plane):
    made = await plane.bury("gone", b"{}")
    status, answer = await order(plane, "replay", sink="gone", all=True)
    assert status == 409
    assert "not configured now" in answer["error"]
    assert await ids(plane) == made
    assert await order(plane, "purge", sink="gone", all=True) == (200, {"purged": 1})


@pytest.mark.parametrize("verb", ["replay", "purge"])
async def test_an_unknown_sink_is_told_the_known_ones(plane: Plane, verb: str):
    status, answer = await order(plane, verb, sink="slaes", all=True)
    assert status == 404
    assert "there are: gone, other, sales" in answer["error"]


@pytest.mark.parametrize("verb", ["replay", "purge"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"all",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"all": true}',
        b'{"sink": "sales"}',
        b'{"sink": "sales", "all": false}',
        b'{"sink": "sales", "stream": "refunds"}',
        b'{"sink": "sales", "all": true, "ids": [1]}',
        b'{"sink": "sales", "all": "yes"}',
        b'{"sink": "sales", "ids": "1"}',
        b'{"sink": "sales", "ids": [1.5]}',
        b'{"sink": "sales", "ids": [9223372036854775808]}',
        b'{"sink": "sales", "all": true, "steam": "refunds"}',
        b'{"sink": "sales", "all": true, "limit": 0}',
        b'{"sink": "sales", "all": true, "after": -1}',
    ],
)
async def test_what_is_not_plain_does_nothing_and_says_how_to_say_it(
    plane: Plane, verb: str, body: bytes
):
    made = await plane.bury("sales", b"{}", stream="bookings")
    status, answer = await plane.ask("POST", f"/v1/dead-letters/{verb}", data=body)
    assert status == 400, answer
    assert '{"sink": "sales", "all": true}' in json.loads(answer)["error"]
    assert await ids(plane) == made


async def test_the_wrong_method_is_not_taken(plane: Plane):
    for method, path in (("GET", "/replay"), ("GET", "/purge"), ("POST", ""), ("DELETE", "/1")):
        status, _ = await plane.ask(method, f"/v1/dead-letters{path}")
        assert status == 405, path


async def test_the_guard_stands_before_all_of_it(plane: Plane):
    made = await plane.bury("sales", EVENT)
    bare: dict[str, str] = {}
    for method, path in (
        ("GET", ""),
        ("GET", f"/{made[0]}"),
        ("POST", "/replay"),
        ("POST", "/purge"),
    ):
        where = f"/v1/dead-letters{path}"
        status, body = await plane.ask(method, where, headers=bare, json={"sink": "sales"})
        assert (status, b"big" in body) == (401, False)
        status, _ = await plane.ask(method, where, headers={"Origin": "http://evil.example"})
        assert status == 403
    assert await ids(plane) == made


async def test_a_closed_buffer_is_503(plane: Plane):
    await plane.bury("sales", b"{}")
    await plane.store.close()
    status, answer = await order(plane, "purge", sink="sales", all=True)
    assert (status, "closing" in answer["error"]) == (503, True)


bodies = st.fixed_dictionaries(
    {},
    optional={
        "sink": st.sampled_from(["sales", "other", "gone", "x", "", None, 1]),
        "ids": st.none() | st.lists(st.integers(-(2**70), 2**70) | st.text() | st.floats()),
        "all": st.booleans() | st.none() | st.text(),
        "stream": st.none() | st.text() | st.integers(),
        "limit": st.integers() | st.none(),
        "after": st.integers() | st.none(),
    },
)


@given(body=bodies)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_no_body_is_a_fault_of_the_daemon(plane: Plane, body: dict[str, Any]):
    status, answer = await order(plane, "replay", **body)
    assert status in (200, 400, 404, 409), answer
