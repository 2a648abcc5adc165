"""The documented limits, over the wire: 429 with Retry-After, 413, and what counts against what."""

import asyncio
from typing import Any

import pytest
from emulator_client import Client, Clock, Connect, Sleeper

THREE = b'[{"a":1},{"a":2},{"a":3}]'


async def statuses(client: Client, count: int, **kwargs: Any):
    return [(await client.post(**kwargs)).status for _ in range(count)]


async def test_the_121st_post_of_a_minute_waits_as_long_as_it_is_told(
    connect: Connect, clock: Clock
):
    client = await connect()
    assert set(await statuses(client, 60)) == {200}
    clock.now += 20.5
    assert set(await statuses(client, 60)) == {200}
    answer = await client.post()
    assert (answer.status, answer.code) == (429, "TooManyRequests")
    assert answer.headers["Retry-After"] == "40"  # 39.5 s, in whole seconds
    clock.now += 39.4
    assert (await client.post()).status == 429
    clock.now += 0.1
    assert set(await statuses(client, 60)) == {200}
    assert (await client.post()).status == 429
    assert client.emulator.requests.throttled == 3


async def test_each_dataset_has_limits_of_its_own_and_its_tables_share_them(connect: Connect):
    client = await connect(requests_per_minute=2)
    assert await statuses(client, 1, table="one") == [200]
    assert await statuses(client, 2, table="two") == [200, 429]
    assert (await client.push()).status == 429
    assert await statuses(client, 1, dataset="other") == [200]


async def test_a_large_table_slows_its_dataset_to_posts_per_hour(connect: Connect, clock: Clock):
    client = await connect(
        large_table_rows=6, requests_per_hour_large=3, minute="1s", token_lifetime="1d"
    )
    assert (await client.post(THREE)).status == 200
    assert (await client.post(THREE)).status == 200
    assert await statuses(client, 2, table="small") == [200, 429]
    clock.now += 3599
    answer = await client.post()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    clock.now += 1
    assert (await client.post()).status == 200


async def test_wiping_a_large_table_makes_its_dataset_quick_again(connect: Connect):
    client = await connect(large_table_rows=3, requests_per_hour_large=1)
    await client.post(THREE)
    assert (await client.post()).status == 429
    await client.ask("DELETE", "/v1.0/myorg/datasets/d/tables/t/rows")
    assert (await client.post()).status == 200


async def test_rows_per_hour_count_what_was_stored_by_all_writers(connect: Connect, clock: Clock):
    client = await connect(rows_per_hour=7, hour="10s")
    assert (await client.post(THREE)).status == 200
    assert (await client.post(b'[{"a":[]},{"a":1}]')).status == 400
    clock.now += 4
    assert (await client.push(THREE)).status == 200
    answer = await client.post(THREE)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "6")
    assert (await client.post()).status == 200
    clock.now += 6
    assert (await client.post(THREE)).status == 200
    assert client.emulator.requests.rows_stored == 10


async def test_the_push_url_has_a_rate_per_second_where_asked(connect: Connect, clock: Clock):
    client = await connect(push_url_per_second=1)
    assert [(await client.push()).status for _ in range(2)] == [200, 429]
    assert (await client.post()).status == 200
    clock.now += 1
    assert (await client.push()).status == 200


async def test_the_sixth_pending_post_is_refused_and_the_places_come_back(connect: Connect):
    client = await connect()
    emulator = client.emulator
    emulator.fault("hang")
    hung = [client.start(client.post()) for _ in range(5)]
    await emulator.until(lambda: emulator.requests.max_pending == 5)
    answer = await client.post()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    other = client.start(client.post(dataset="other"))
    await emulator.until(lambda: emulator.requests.under_way == 6)
    emulator.clear_faults()
    assert {answer.status for answer in await asyncio.gather(*hung, other)} == {200}
    assert (await client.post()).status == 200
    assert emulator.requests.max_pending == 6  # the refused one was seen, too


async def test_a_client_that_goes_away_frees_its_place(connect: Connect):
    client = await connect(pending=1)
    emulator = client.emulator
    emulator.fault("hang", count=1)
    gone = client.start(client.post())
    await emulator.until(lambda: emulator.requests.under_way == 1)
    gone.cancel()
    await emulator.until(lambda: emulator.requests.under_way == 0)
    assert (await client.post()).status == 200
    assert emulator.requests.unanswered == 1


@pytest.mark.parametrize("status", [400, 413])
async def test_too_many_rows_in_one_post_is_a_status_to_choose(connect: Connect, status: int):
    client = await connect(rows_per_request=2, too_many_rows_status=status)
    assert (await client.post(THREE)).status == status
    assert (await client.post(b'[{"a":1},{"a":2}]')).status == 200
    assert client.emulator.requests.max_rows_per_request == 3


async def test_a_body_above_the_limit_is_413(connect: Connect):
    client = await connect(bytes_per_request=400)
    head = len(b'{"rows": [{"a":""}]}')
    assert (await client.post(b'[{"a":"%s"}]' % (b"x" * (400 - head)))).status == 200
    answer = await client.post(b'[{"a":"%s"}]' % (b"x" * (401 - head)))
    assert (answer.status, answer.code) == (413, "RequestEntityTooLarge")
    assert client.emulator.requests.max_bytes_per_request == 400


async def test_a_limit_of_zero_is_no_limit(connect: Connect):
    client = await connect(
        requests_per_minute=0, rows_per_hour=0, rows_per_request=0, bytes_per_request=0, pending=0
    )
    body = b"[" + b",".join([b'{"a":"%s"}' % (b"x" * 1000)] * 20_000) + b"]"
    assert (await client.post(body)).status == 200
    assert set(await statuses(client, 130)) == {200}


async def test_a_full_table_refuses_and_keeps_what_it_has(connect: Connect):
    client = await connect(max_rows=4, full_status=403)
    assert (await client.post(THREE)).status == 200
    answer = await client.post(THREE)
    assert (answer.status, answer.code) == (403, "RowsLimitExceeded")
    assert (await client.post()).status == 200
    assert len(client.emulator.rows("d", "t")) == 4


async def test_a_fifo_table_forgets_its_oldest(connect: Connect):
    client = await connect(retention="fifo", fifo_rows=4, fifo_slack=2)
    for start in (0, 3):
        await client.post(b"[" + b",".join(b'{"n":%d}' % n for n in range(start, start + 3)) + b"]")
    assert len(client.emulator.rows("d", "t")) == 6
    await client.post(b'[{"n":6}]')
    assert client.emulator.rows("d", "t") == [b'{"n":%d}' % n for n in (3, 4, 5, 6)]


async def test_latency_keeps_the_place_until_the_answer(connect: Connect, sleeper: Sleeper):
    client = await connect(latency="1500ms", pending=1)
    first = client.start(client.post())
    await client.emulator.until(lambda: client.emulator.requests.rows_stored == 1)
    assert (await client.post()).status == 429
    sleeper.wake.set()
    assert (await first).status == 200
    assert sleeper.asked == [1.5]
