import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sink_helpers import EPOCH, batch, part

from forebay.sinks import Batch, Rejected
from forebay.sinks.powerbi.options import Column, LongStrings
from forebay.sinks.powerbi.rows import Rows, mapped, pass_through

INT64_MAX = 2**63 - 1


def rows(columns: dict[str, object], what: Batch, long_strings: str = "reject") -> bytes:
    long_form = {
        name: Column.model_validate(column if isinstance(column, dict) else {"from": column})
        for name, column in columns.items()
    }
    return array(mapped(long_form, LongStrings(long_strings)), what)


def array(make: Rows, what: Batch) -> bytes:
    return b"[%b]" % b",".join(make(what))


def one(value: bytes, type_name: str | None = None, **more: str) -> bytes:
    """What a column of the type makes of the JSON value, as JSON."""
    column = {"from": "v", "type": type_name}
    made = rows({"V": column}, batch(b'{"v":%b}' % value), **more)
    return made.removeprefix(b'[{"V":').removesuffix(b"}]")


GOOD = [
    ("Int64", b"42", b"42"),
    ("Int64", b"-42.0", b"-42"),
    ("Int64", b"4.2e1", b"42"),
    ("Int64", b'" 42 "', b"42"),
    ("Int64", b"%d" % (INT64_MAX - 1), b"%d" % (INT64_MAX - 1)),
    ("Int64", b"%d" % -(INT64_MAX - 0), b"%d" % -INT64_MAX),
    ("Int64", b"null", b"null"),
    ("Double", b"1.10", b"1.10"),
    ("Double", b"1E+2", b"1E+2"),
    ("Double", b"7", b"7"),
    ("Double", b"123456789012345678901234567890", b"123456789012345678901234567890"),
    ("Double", b'"-1.5e3"', b"-1500.0"),
    ("Double", b"null", b"null"),
    ("Decimal", b"12.34", b"12.34"),
    ("Decimal", b"12.00005", b"12.0000"),
    ("Decimal", b"12.00015", b"12.0002"),
    ("Decimal", b'"12.5"', b"12.5000"),
    ("Decimal", b"1e3", b"1e3"),
    ("Decimal", b"9", b"9"),
    ("Decimal", b"9" * 24, b"9" * 24),
    ("Boolean", b"true", b"true"),
    ("Boolean", b'"False"', b"false"),
    ("Boolean", b"1", b"true"),
    ("Boolean", b"0", b"false"),
    ("Datetime", b'"2026-11-22T10:00:00Z"', b'"2026-11-22T10:00:00Z"'),
    ("Datetime", b'"2026-11-22T10:00:00.1234567Z"', b'"2026-11-22T10:00:00.1234567Z"'),
    ("Datetime", b'"2026-11-22T10:00:00+02:00"', b'"2026-11-22T08:00:00Z"'),
    ("Datetime", b'"2026-11-22 10:00:00.5"', b'"2026-11-22T10:00:00.500000Z"'),
    ("Datetime", b'"2026-11-22"', b'"2026-11-22T00:00:00Z"'),
    ("Datetime", b"null", b"null"),
    ("String", b'"text"', b'"text"'),
    ("String", b"1.10", b'"1.10"'),
    ("String", b"true", b'"true"'),
    ("String", b'{"a": [1.0, null]}', b'"{\\"a\\":[1.0,null]}"'),
    ("String", b"null", b"null"),
    (None, b"1.10", b"1.10"),
    (None, b"-0.0", b"-0.0"),
    (None, b"12345678901234567890123", b"12345678901234567890123"),
    (None, b"1e999", b"1e999"),
    (None, b'"\\u00e4"', '"ä"'.encode()),
    (None, b"false", b"false"),
    (None, b"[1.50]", b'"[1.50]"'),
    (None, b'{"a":1}', b'"{\\"a\\":1}"'),
]


@pytest.mark.parametrize(("type_name", "value", "sent"), GOOD)
def test_a_value_arrives_as_what_its_column_takes(type_name: str | None, value: Any, sent: bytes):
    assert one(value, type_name) == sent


BAD = [
    ("Int64", [b"1.5", b'"1.5"', b"true", b'"x"', b"[]", b'""', b"1e400", b"1e99999999999999999999",
               b"%d" % INT64_MAX, b"%d" % (-INT64_MAX - 1), b"9" * 40, b'"1_0"', b'"nan"']),
    ("Double", [b"true", b'"NaN"', b'"inf"', b"1e400", b"9" * 400, b"{}", b'"1,5"']),
    ("Decimal", [b"false", b'"NaN"', b"9" * 25, b"1e25", b"1e99999999999999999999", b"[]"]),
    ("Boolean", [b"2", b'"yes"', b"1.0", b"[]", b'""']),
    ("Datetime", [b"1795341600", b'"yesterday"', b'"2026-13-01T00:00:00Z"', b"true", b"{}",
                  b'"0001-01-01T00:00:00+05:00"', b'"2026-02-30T00:00:00Z"', b'""']),
]  # fmt: skip


@pytest.mark.parametrize(("type_name", "value"), [(name, v) for name, bad in BAD for v in bad])
def test_a_value_that_cannot_be_converted_is_never_sent(type_name: str | None, value: Any):
    with pytest.raises(Rejected, match=f"column .V. from v: .* is no {type_name}") as raised:
        one(value, type_name)
    assert raised.value.rows == [0]
    assert len(raised.value.reason) < 250


@given(
    st.one_of(st.integers(), st.floats(allow_nan=False), st.decimals(allow_nan=False), st.text())
)
def test_conversions_send_the_same_number_or_refuse(value: Any):
    spelled = json.dumps(value, default=str).encode()
    if spelled in {b"Infinity", b"-Infinity"}:
        return
    for name in ("Int64", "Double", "Decimal"):
        try:
            sent = one(spelled, name)
        except Rejected:
            continue
        meant, arrived = Decimal(str(value).strip()), Decimal(sent.decode())
        if name == "Double":
            assert float(meant) == float(arrived)
        else:
            assert abs(meant - arrived) <= (Decimal("0.00005") if name == "Decimal" else 0)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"),
            st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64), st.text()),
        ),
        min_size=1,
    )
)
def test_rows_without_types_are_what_was_posted_with_null_for_what_is_missing(
    events: list[dict[str, Any]],
):
    made = json.loads(rows({"A": "a", "B": "b", "C": "c"}, batch(*events)))
    assert made == [{key.upper(): event.get(key) for key in "abc"} for event in events]


def test_values_are_found_where_they_stand_and_null_stands_for_none():
    event = {
        "order": {"id": 7, "lines": [{"sku": "x"}, {"sku": "y"}]},
        "@timestamp": "t", "http.status": {"code": 200}, "ä b": 1, "flat": 3,
    }  # fmt: skip
    columns = {
        "Id": "order.id", "Second": "order.lines.1.sku", "None": "order.lines.9.sku",
        "At": ["@timestamp"], "Code": ["http.status", "code"], "Umlaut": "ä b",
        "Through": "flat.inside", "Missing": "not.there", "Not a name, für Python": "flat",
    }  # fmt: skip
    assert json.loads(rows(columns, batch(event))) == [
        {
            "Id": 7, "Second": "y", "None": None, "At": "t", "Code": 200, "Umlaut": 1,
            "Through": None, "Missing": None, "Not a name, für Python": 3,
        }
    ]  # fmt: skip


def test_built_in_sources_tell_where_an_event_comes_from():
    ours = ({"id": "e-1", "source": "/pos"}, None)
    what = Batch(
        "a1b2/sales",
        (
            part({"n": 1}, {"n": 2}, stream="one", first=41, attributes=ours),
            part({"n": 3}, stream="two", first=50, received_at=EPOCH + 0.25),
        ),
    )
    columns = {
        "N": "n", "Seq": "@seq", "Stream": "@stream", "Id": "@attributes.id", "All": "@event",
        "At": {"from": "@received_at", "type": "Datetime"},
    }  # fmt: skip
    made = [list(row.values()) for row in json.loads(rows(columns, what))]
    early, late = "2026-11-22T10:00:00.000Z", "2026-11-22T10:00:00.250Z"
    assert made == [
        [1, 41, "one", "e-1", '{"n": 1}', early],
        [2, 42, "one", None, '{"n": 2}', early],
        [3, 50, "two", None, '{"n": 3}', late],
    ]


def test_every_bad_row_is_named_with_its_row_seq_column_and_path():
    events = [{"order": {"amount": value}} for value in (1, "a", 3, None, "b", "c", "d")]
    columns = {"Amount": {"from": "order.amount", "type": "Int64"}}
    with pytest.raises(Rejected) as raised:
        rows(columns, batch(*events, first=100))
    assert raised.value.rows == [1, 4, 5, 6]
    assert raised.value.reason.startswith(
        "row 1 (seq 101), column 'Amount' from order.amount: \"a\" is no Int64"
    )
    assert raised.value.reason.endswith("; and 1 rows more")
    own = [raised.value.reason_of(row).partition(" is no ")[0] for row in raised.value.rows]
    assert own == [f"column 'Amount' from order.amount: \"{text}\"" for text in "abcd"]


def test_events_that_cannot_be_read_do_not_take_the_others_along():
    what = batch(
        b'{"a":1}', b'{"a":', b"[1]", b'{"a":2}', b'{"a":"\xff"}', b'{"a":%b}' % (b"9" * 5000)
    )
    with pytest.raises(Rejected, match=r"row 1 \(seq 2\), the event cannot be read") as raised:
        rows({"A": "a"}, what)
    assert raised.value.rows == [1, 2, 4, 5]
    reasons = [raised.value.reason_of(row) for row in raised.value.rows]
    assert all(reason.startswith("the event cannot be read: ") for reason in reasons)
    assert len(set(reasons)) == 4
    deep = b'{"a":%b1%b}' % (b"[" * 100_000, b"]" * 100_000)
    with pytest.raises(Rejected, match="the event cannot be read"):
        rows({"A": "a"}, batch(deep))


@pytest.mark.parametrize("type_name", ["String", None])
def test_long_strings_are_never_cut_unless_the_operator_says_so(type_name: str | None):
    exact, longer = b'"%b"' % (b"x" * 4000), '"%s"' % ("ä" * 4001)
    assert one(exact, type_name) == exact
    with pytest.raises(Rejected, match=r"4001 characters.*long_strings"):
        one(longer.encode(), type_name)
    cut = one(longer.encode(), type_name, long_strings="truncate")
    assert json.loads(cut) == "ä" * 4000
    array = b"[%b]" % b",".join([b"1"] * 3000)
    with pytest.raises(Rejected, match="6001 characters"):
        one(array, type_name)


@given(st.lists(st.dictionaries(st.text(), st.text()), min_size=1))
def test_without_a_mapping_every_byte_is_the_clients_own(events: list[dict[str, Any]]):
    what = batch(*events)
    made = array(pass_through, what)
    assert made == b"[" + b",".join(what.events) + b"]"
    assert msgspec.json.decode(made) == events
