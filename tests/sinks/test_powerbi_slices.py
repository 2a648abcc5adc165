import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_helpers import EPOCH, batch, part

from forebay.sinks import Batch, Rejected
from forebay.sinks.powerbi.options import Column, LongStrings
from forebay.sinks.powerbi.rows import mapped, pass_through
from forebay.sinks.powerbi.slices import slices

SLICE = 64 * 1024
MAKE = mapped(
    {
        name: Column.model_validate(column)
        for name, column in {
            "N": {"from": "order.n", "type": "Int64"},
            "Day": {"from": "day", "type": "Datetime"},
            "Seq": {"from": "@seq"},
            "Stream": {"from": "@stream", "type": "String"},
            "Id": {"from": "@attributes.id"},
            "Event": {"from": "@event"},
        }.items()
    },
    LongStrings.REJECT,
)


def event(number: Any) -> dict[str, Any]:
    return {"order": {"n": number}, "day": "2026-11-22", "rest": "x" * 1000}


def large(count: int = 300) -> Batch:
    """Some slices of events, in parts whose ends are not theirs."""
    parts = [
        part(*map(event, range(first, first + 25)), stream=f"s{first}", first=first * 2,
             received_at=EPOCH, attributes=tuple({"id": f"e{first + i}"} for i in range(25)))
        for first in range(0, count, 25)
    ]  # fmt: skip
    return Batch("i/s", tuple(parts))


@settings(deadline=None)
@given(st.lists(st.sampled_from([2, 3, 100, 20_000, SLICE - 1, SLICE, 200_000]), min_size=1))
def test_slices_hold_every_event_once_and_whole(sizes: list[int]):
    what = batch(*[b"{%b}" % (b" " * (size - 2)) for size in sizes])
    found = list(slices(what))
    assert b"\n".join(found) == what.ndjson()
    assert all(lines[:1] == b"{" and lines[-1:] == b"}" for lines in found)
    assert max(map(len, found)) <= SLICE + max(sizes)


def test_rows_are_the_same_however_many_are_made_at_once():
    what = large()
    pieces = MAKE(what)
    assert len(pieces) > 3
    alone = [MAKE(what.cut(row, row + 1))[0] for row in range(what.count)]
    assert b",".join(pieces) == b",".join(alone)
    made = json.loads(b"[%b]" % b",".join(pieces))
    assert [row["N"] for row in made] == list(range(300))
    assert (made[260]["Seq"], made[260]["Stream"], made[260]["Id"]) == (510, "s250", "e260")


def test_events_that_pass_through_are_the_same_however_long_the_batch_is():
    what = large()
    pieces = pass_through(what)
    assert len(pieces) > 3
    assert b",".join(pieces) == b",".join(what.events)


def test_all_bad_rows_of_a_long_batch_are_named_at_once_with_their_own_rows():
    lines = list(large().events)
    lines[3] = lines[3].replace(b'"n": 3', b'"n": "x"')
    lines[150] = lines[150].replace(b"2026-11-22", b"yesterday")
    lines[151] = b'{"order":'
    lines[152] = lines[152].replace(b'"n": 152', b'"n": 1.5')
    lines[299] = lines[299].replace(b"2026-11-22", b"tomorrow")
    with pytest.raises(Rejected, match="and 2 rows more") as raised:
        MAKE(batch(*lines, first=1000))
    answer = raised.value
    assert answer.rows == [3, 150, 151, 152, 299]
    assert answer.reason.startswith("row 3 (seq 1003), column 'N' from order.n: \"x\" is no Int64")
    assert answer.reason_of(150).startswith("column 'Day' from day: \"yesterday\" is no Datetime")
    assert answer.reason_of(151).startswith("the event cannot be read")
    assert answer.reason_of(152).startswith("column 'N' from order.n: 1.5 is no Int64")
    assert answer.reason_of(299).startswith("column 'Day' from day: \"tomorrow\"")
