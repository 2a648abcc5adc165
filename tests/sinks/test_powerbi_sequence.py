"""`sequence = "verify"`: after an answer that never came, nothing is stored twice, nothing lost."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sink_helpers import Clock, Request, by_id, opened, reply, scripted, token

from forebay.sinks import Batch, Context, Hold, Part, Rejected, Retry
from forebay.sinks.powerbi import PowerBIOptions, PowerBISink
from forebay.sinks.powerbi.emulator import Emulator, EmulatorOptions
from forebay.sinks.powerbi.sequence import GREATEST, HEADER, number_of, numbers_in

HONOURED = ["ignore", "reject", "deduplicate"]
NEW_TOKEN = token()


def events(first: int, last: int, origin: str = "a1b2/sales") -> Batch:
    lines = b"\n".join(b'{"n":%d}' % n for n in range(first, last + 1))
    return Batch(origin, (Part("orders", first, last - first + 1, 0.0, lines),))


def rows(emulator: Emulator) -> list[int]:
    return [json.loads(row)["n"] for row in emulator.rows("d", "t")]


def asked(emulator: Emulator) -> int:
    """How often the numbers were read back."""
    seen = emulator.requests
    return seen.requests - seen.row_requests - seen.token_requests


def verifying(emulator: Emulator, context: Context, client_id: str = "c-1") -> PowerBISink:
    auth = {"tenant_id": "contoso.com", "client_id": client_id, "client_secret": "s3cret"}
    urls = {"api_url": emulator.url, "authority_url": emulator.url}
    given = {"dataset_id": "d", "table": "t", "auth": auth, "sequence": "verify"}
    return PowerBISink(PowerBIOptions.model_validate({**given, **urls}), context)


class Table:
    """An emulator, and sinks that come and go."""

    def __init__(self, emulator: Emulator, context: Context) -> None:
        self.emulator = emulator
        self.context = context

    @asynccontextmanager
    async def sink(self, **more: str) -> AsyncIterator[PowerBISink]:
        async with opened(verifying(self.emulator, self.context, **more)) as sink:
            assert isinstance(sink, PowerBISink)
            yield sink


@asynccontextmanager
async def table(
    context: Context, mode: str = "deduplicate", sleep: Callable[[float], Any] | None = None
) -> AsyncIterator[Table]:
    options = EmulatorOptions.model_validate({"sequence": mode, "requests_per_minute": 0})
    async with Emulator(options, sleep=sleep or asyncio.sleep) as emulator:
        yield Table(emulator, context)


async def lost(sink: PowerBISink, what: Batch) -> None:
    with pytest.raises(Retry) as raised:
        await sink.send(what)
    assert raised.value.ambiguous


# ── the answer never came ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", HONOURED)
async def test_a_lost_answer_does_not_store_the_rows_twice(mode: str, context: Context):
    async with table(context, mode) as there, there.sink() as sink:
        await sink.send(events(1, 3))
        there.emulator.fault("drop_answer", count=1)
        await lost(sink, events(4, 5))
        await sink.send(events(4, 5))
        await sink.send(events(6, 6))
        assert rows(there.emulator) == [1, 2, 3, 4, 5, 6]
        assert there.emulator.requests.row_requests == 3
        assert asked(there.emulator) == 2, "once at the start, and once in doubt"


@pytest.mark.parametrize("mode", [*HONOURED, "unsupported"])
async def test_rows_that_never_arrived_are_sent_again(mode: str, context: Context):
    async with table(context, mode) as there, there.sink() as sink:
        there.emulator.fault("reset", count=2)
        await lost(sink, events(1, 3))
        await lost(sink, events(1, 3))
        await sink.send(events(1, 3))
        assert rows(there.emulator) == [1, 2, 3]


@pytest.mark.parametrize("mode", HONOURED)
async def test_a_lost_answer_is_not_forgotten_over_a_restart(mode: str, context: Context):
    async with table(context, mode) as there:
        async with there.sink() as sink:
            await sink.send(events(1, 3))
            there.emulator.fault("drop_answer", count=1)
            await lost(sink, events(4, 5))
        async with there.sink() as sink:
            await sink.send(events(4, 5))
            await sink.send(events(6, 7))
        assert rows(there.emulator) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("mode", HONOURED)
async def test_a_send_cut_off_by_its_time_limit_is_in_doubt_too(mode: str, context: Context):
    async def never(_: float) -> None:
        await asyncio.Event().wait()

    async with table(context, mode, never) as there, there.sink() as sink:
        there.emulator.fault("slow", seconds=60, count=1)
        sending = asyncio.ensure_future(sink.send(events(1, 3)))
        await there.emulator.until(lambda: there.emulator.requests.rows_stored == 3)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await sink.send(events(1, 3))
        assert rows(there.emulator) == [1, 2, 3]


async def test_nothing_is_asked_for_as_long_as_answers_come(context: Context):
    async with table(context) as there, there.sink() as sink:
        for n in range(1, 20):
            await sink.send(events(n, n))
        there.emulator.fault("status", status=429, count=1)
        with pytest.raises(Retry):
            await sink.send(events(20, 20))
        await sink.send(events(20, 20))
        assert rows(there.emulator) == list(range(1, 21))
        assert asked(there.emulator) == 1


# ── what may not be taken for stored ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", HONOURED)
async def test_a_row_whose_dead_letter_was_lost_in_a_crash_is_sent_again(
    mode: str, context: Context
):
    whole = events(1, 3)
    without_the_second = Batch(whole.origin, (*whole.cut(0, 1).parts, *whole.cut(2, 3).parts))
    async with table(context, mode) as there:
        async with there.sink() as sink:
            await sink.send(without_the_second)
        async with there.sink() as sink:
            await sink.send(whole)
        assert rows(there.emulator) == [1, 3, 1, 2, 3]


@pytest.mark.parametrize("mode", HONOURED)
async def test_a_buffer_that_begins_again_loses_nothing(
    mode: str, context: Context, caplog: pytest.LogCaptureFixture
):
    async with table(context, mode) as there:
        async with there.sink() as sink:
            await sink.send(events(1, 3))
            await sink.send(events(4, 9))
        async with there.sink() as sink:
            for first, last in ((1, 2), (3, 3), (4, 9)):
                await sink.send(events(first, last, origin="c3d4/sales"))
        assert rows(there.emulator) == [*range(1, 10), *range(1, 10)]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "another writer" in caplog.text
    assert "sink sales" in caplog.text


@pytest.mark.parametrize("mode", HONOURED)
@pytest.mark.parametrize("client_id", ["c-1", "c-2"])
async def test_another_writer_who_is_ahead_makes_nobody_lose_rows(
    mode: str, client_id: str, context: Context
):
    async with (
        table(context, mode) as there,
        there.sink() as sink,
        there.sink(client_id=client_id) as other,
    ):
        await sink.send(events(1, 1))
        there.emulator.fault("reset", count=1)
        await lost(sink, events(2, 2))
        await other.send(events(1000, 1000, origin="c3d4/sales"))
        await sink.send(events(2, 2))
        await sink.send(events(3, 3))
        assert rows(there.emulator) == [1, 1000, 2, 3]


async def test_a_batch_out_of_its_order_is_not_dropped_for_its_low_number(context: Context):
    async with table(context) as there, there.sink() as sink:
        await sink.send(events(4, 5))
        await sink.send(events(1, 3))
        assert rows(there.emulator) == [4, 5, 1, 2, 3]


async def test_replayed_dead_letters_carry_no_number(context: Context):
    async with (
        scripted(NEW_TOKEN) as entra,
        scripted(_numbers_at_the_start) as api,
        opened(by_id(api.url, entra.url, context, sequence="verify")) as sink,
    ):
        await sink.send(events(7, 7, origin="a1b2/sales/replay-4+1"))
        await sink.send(events(8, 9))
        await sink.send(events(3, 3, origin="a1b2/sales/replay-5+1"))
    shown = [(seen.method, seen.headers.get(HEADER.lower())) for seen in api.requests]
    number = str(number_of(events(8, 9)))
    assert shown == [("POST", None), ("GET", None), ("POST", number), ("POST", None)]


async def test_off_is_the_default_and_asks_and_carries_nothing(context: Context):
    async with (
        scripted(NEW_TOKEN) as entra,
        scripted(reply(200)) as api,
        opened(by_id(api.url, entra.url, context)) as sink,
    ):
        await sink.send(events(1, 2))
    assert [HEADER.lower() in seen.headers for seen in api.requests] == [False]
    assert not sink.identified
    assert not sink.ordered


# ── batches that are split ───────────────────────────────────────────────────────────────────────


async def deliver(sink: PowerBISink, what: Batch) -> list[bytes]:
    """As the pipeline does: repeat, halve; returns the rows that were refused."""
    refused: list[bytes] = []
    pieces = deque([what])
    while pieces:
        piece = pieces.popleft()
        try:
            await sink.send(piece)
        except Retry:
            pieces.appendleft(piece)
        except Rejected:
            middle = piece.count // 2
            if middle:
                pieces.extendleft([piece.cut(middle, piece.count), piece.cut(0, middle)])
            else:
                refused += piece.events
    return refused


@pytest.mark.parametrize("mode", HONOURED)
async def test_pieces_of_a_split_batch_are_stored_once_though_answers_get_lost(
    mode: str, context: Context, caplog: pytest.LogCaptureFixture
):
    async with table(context, mode) as there, there.sink() as sink:
        there.emulator.fault("poison", match={"n": 13})
        there.emulator.fault("drop_answer", count=4)
        refused = await deliver(sink, events(1, 40))
        assert await deliver(sink, events(41, 50)) == []
        assert refused == [b'{"n":13}']
        assert rows(there.emulator) == [n for n in range(1, 51) if n != 13]
    assert caplog.records == []


async def test_poison_costs_one_request_more_than_without_numbers(
    context: Context, caplog: pytest.LogCaptureFixture
):
    async with table(context) as there, there.sink() as sink:
        there.emulator.fault("poison", match={"n": 2})
        with pytest.raises(Rejected):
            await sink.send(events(1, 2))
        assert there.emulator.requests.row_requests == 1
        with pytest.raises(Rejected):
            await sink.send(events(2, 2))
        assert there.emulator.requests.row_requests == 3
    assert caplog.records == []


@given(st.integers(1, 2**38), st.integers(1, 10_000), st.data())
def test_numbers_grow_however_a_batch_is_cut(first: int, size: int, data: st.DataObject):
    part = Part("s", first, size, 0.0, b"\n".join([b"{}"] * size))
    pieces = deque([Batch("i/s", (part,)), Batch("i/s", (Part("s", first + size, 1, 0.0, b"{}"),))])
    sent: list[int] = []
    while pieces:
        piece = pieces.popleft()
        sent.append(number_of(piece))
        if piece.count > 1 and len(sent) < 20:
            step = data.draw(st.sampled_from(["store", "halve", "drop a row"]))
            at = data.draw(st.integers(1, piece.count - 1))
            if step == "halve":
                pieces.extendleft([piece.cut(at, piece.count), piece.cut(0, at)])
            elif step == "drop a row":
                rest = [piece.cut(0, at - 1)] if at > 1 else []
                rest.append(piece.cut(at, piece.count))
                pieces.appendleft(Batch("i/s", tuple(part for cut in rest for part in cut.parts)))
    assert all(earlier < later for earlier, later in pairwise(sent))
    assert sent[0] > 0
    assert sent[-1] <= GREATEST


def test_a_number_tells_the_very_batch():
    whole = events(1, 100)
    gaps = [Batch(whole.origin, (*whole.cut(0, n).parts, *whole.cut(n + 1, 100).parts))
            for n in (50, 51)]  # fmt: skip
    others = [events(1, 100, origin="c3d4/sales"), events(1, 100, origin="a1b2/other"), *gaps]
    assert number_of(whole) == number_of(events(1, 100))
    assert len({number_of(found) for found in (whole, *others)}) == 5


# ── not honoured ─────────────────────────────────────────────────────────────────────────────────


async def test_where_numbers_are_not_kept_one_line_says_so_and_nothing_is_lost(
    context: Context, caplog: pytest.LogCaptureFixture
):
    async with table(context, "unsupported") as there, there.sink() as sink:
        await sink.send(events(1, 1))
        for n in (2, 3):
            there.emulator.fault("drop_answer", count=1)
            await lost(sink, events(n, n))
            await sink.send(events(n, n))
        assert rows(there.emulator) == [1, 2, 2, 3, 3]
        assert asked(there.emulator) == 2, "not again, once it is known to be in vain"
    [record] = caplog.records
    assert record.name == "forebay.sinks.powerbi"
    assert record.levelno == logging.WARNING
    assert "lacks those of batches that it took" in record.getMessage()


async def test_a_read_back_that_is_refused_does_not_stop_delivery(
    context: Context, caplog: pytest.LogCaptureFixture
):
    async with table(context) as there, there.sink() as sink:
        there.emulator.fault("status", endpoint="other", status=404, body="no such path")
        await sink.send(events(1, 1))
        await sink.send(events(2, 2))
        assert rows(there.emulator) == [1, 2]
        assert asked(there.emulator) == 1
    [record] = caplog.records
    assert "cannot be read back: HTTP 404: no such path" in record.getMessage()


async def test_a_missing_table_does_not_turn_verification_off(
    context: Context, caplog: pytest.LogCaptureFixture
):
    async with table(context) as there, there.sink() as sink:
        there.emulator.fault("status", endpoint="other", status=404, count=1)
        there.emulator.fault("status", status=404, count=1)
        with pytest.raises(Hold):
            await sink.send(events(1, 1))
        there.emulator.fault("drop_answer", count=1)
        await lost(sink, events(1, 1))
        await sink.send(events(1, 1))
        assert rows(there.emulator) == [1]
    assert caplog.records == []


async def test_an_outage_is_no_reason_to_send_what_may_be_stored(context: Context):
    async with table(context) as there, there.sink() as sink:
        there.emulator.fault("drop_answer", count=1)
        await lost(sink, events(1, 1))
        there.emulator.fault("status", endpoint="other", status=503, retry_after=7, count=4)
        for _ in range(4):
            with pytest.raises(
                Retry, match="sequence numbers were not read back: HTTP 503"
            ) as not_now:
                await sink.send(events(1, 1))
            assert (not_now.value.after, not_now.value.ambiguous) == (7.0, False)
        await sink.send(events(1, 1))
        assert rows(there.emulator) == [1]


async def test_a_doubt_outlives_what_is_posted_in_spite_of_it(context: Context):
    async with table(context, "ignore") as there, there.sink() as sink:
        there.emulator.fault("drop_answer", count=1)
        await lost(sink, events(1, 1))
        there.emulator.fault("status", endpoint="other", status=503, count=5)
        there.emulator.fault("status", status=429, count=1)
        for _ in range(5):
            with pytest.raises(Retry):
                await sink.send(events(1, 1))
        await sink.send(events(1, 1))
        assert rows(there.emulator) == [1]


async def test_a_read_back_that_fails_for_ever_does_not_hold_up_the_rows(
    context: Context, caplog: pytest.LogCaptureFixture
):
    async with table(context) as there, there.sink() as sink:
        there.emulator.fault("status", endpoint="other", status=500)
        for _ in range(4):
            with pytest.raises(Retry):
                await sink.send(events(1, 1))
        await sink.send(events(1, 1))
        await sink.send(events(2, 2))
        there.emulator.clear_faults()
        there.emulator.fault("drop_answer", count=1)
        await lost(sink, events(3, 3))
        await sink.send(events(3, 3))
        assert rows(there.emulator) == [1, 2, 3]
    assert caplog.records == []


async def test_a_row_refused_for_its_number_alone_is_stored_without(
    context: Context, caplog: pytest.LogCaptureFixture
):
    def api_without_numbers(request: Request) -> bytes:
        if request.method == "GET":
            return reply(200, {"value": []})
        return reply(400 if HEADER.lower() in request.headers else 200, b"what is that?")

    async with (
        scripted(NEW_TOKEN) as entra,
        scripted(api_without_numbers) as api,
        opened(by_id(api.url, entra.url, context, sequence="verify")) as sink,
    ):
        assert isinstance(sink, PowerBISink)
        assert await deliver(sink, events(1, 4)) == []
        assert await deliver(sink, events(5, 8)) == []
    taken = [json.loads(seen.body)["rows"] for seen in api.requests
             if seen.method == "POST" and HEADER.lower() not in seen.headers]  # fmt: skip
    assert [row["n"] for found in taken for row in found] == [1, 2, 3, 4, 5, 6, 7, 8]
    [record] = caplog.records
    assert "only without its number: HTTP 400: what is that?" in record.getMessage()


async def test_seqs_beyond_64_bits_go_without_a_number(
    context: Context, caplog: pytest.LogCaptureFixture
):
    async with table(context) as there, there.sink() as sink:
        await sink.send(events(2**39, 2**39 + 1))
        await sink.send(events(2**40, 2**40))
        assert len(rows(there.emulator)) == 3
    [record] = caplog.records
    assert "outgrown" in record.getMessage()


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        (b'{"value": []}', []),
        (b'{"value": [{"clientId": "a", "sequenceNumber": 5}, {"sequenceNumber": "7"}]}', [5, 7]),
        (b'{"value": [{"clientId": 3, "sequenceNumber": 9223372036854775807}]}', [GREATEST]),
        (b'{"value": [{"clientId": "a"}]}', None),
        (b'{"value": [{"sequenceNumber": null}]}', None),
        (b'{"value": 5}', None),
        (b"[]", None),
        (b"<html>", None),
        (b'"\xff"', None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_an_odd_list_of_numbers_is_not_misread(body: bytes, numbers: list[int] | None):
    assert numbers_in(body) == numbers


# ── any history ──────────────────────────────────────────────────────────────────────────────────


FAULTS = st.lists(
    st.sampled_from(["none", "drop_answer", "reset", "429", "503", "restart", "no read-back"]),
    max_size=12,
)


@settings(deadline=None)
@given(FAULTS, st.sampled_from(HONOURED))
def test_whatever_happens_each_row_is_stored_exactly_once(faults: list[str], mode: str):
    clock = Clock()
    context = Context("sales", "a1b2", clock.monotonic, clock.wall)
    assert asyncio.run(_delivered(faults, mode, context)) == list(range(1, 3 * len(faults) + 4))


async def _delivered(faults: list[str], mode: str, context: Context) -> list[int]:
    async with table(context, mode) as there:
        sink = verifying(there.emulator, context)
        await sink.open()
        firsts = count(1, 3)
        for fault in faults:
            if fault == "restart":
                there.emulator.fault("drop_answer", count=1)
            elif fault == "no read-back":
                there.emulator.fault("drop_answer", count=1)
                there.emulator.fault("status", endpoint="other", status=503, count=2)
            elif fault != "none":
                _play(there.emulator, fault)
            first = next(firsts)
            what = events(first, first + 2)
            while True:
                try:
                    await sink.send(what)
                    break
                except Retry:
                    if fault == "restart":
                        await sink.close()
                        sink = verifying(there.emulator, context)
                        await sink.open()
        last = next(firsts)
        there.emulator.clear_faults()
        await sink.send(events(last, last + 2))
        await sink.close()
        return rows(there.emulator)


def _play(emulator: Emulator, fault: str) -> None:
    if fault.isdecimal():
        emulator.fault("status", status=int(fault), count=1)
    else:
        emulator.fault(fault, count=1)


# ── options ──────────────────────────────────────────────────────────────────────────────────────


def test_a_push_url_with_sequence_numbers_is_a_clear_mistake():
    push_url = "https://api.powerbi.com/beta/t/datasets/d/rows?key=s3cret"
    with pytest.raises(ValidationError, match="a push URL takes no sequence numbers") as raised:
        PowerBIOptions.model_validate({"push_url": push_url, "sequence": "verify"})
    assert "s3cret" not in str(raised.value)


def test_the_pipeline_is_told_that_batches_must_keep_their_bounds_and_order(context: Context):
    sink = by_id("http://127.0.0.1:9", "http://127.0.0.1:9", context, sequence="verify")
    assert sink.identified
    assert sink.ordered


def _numbers_at_the_start(request: Request) -> bytes:
    return reply(200, {"value": []}) if request.method == "GET" else reply(200)
