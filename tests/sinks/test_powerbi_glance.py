"""Whole columns are judged in C; what that lets through is held against the conversions."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forebay.sinks.powerbi.convert import converter
from forebay.sinks.powerbi.options import ColumnType, LongStrings

TYPES = [None, *ColumnType]

_decoder = msgspec.json.Decoder(list[Any], float_hook=msgspec.Raw)


def decoded(*values: str) -> list[Any]:
    """The values of these JSON texts, as they are when a batch was read."""
    return _decoder.decode(f"[{','.join(values)}]")


def one_by_one(values: list[Any], convert: Any) -> tuple[list[Any], dict[int, str]]:
    faults: dict[int, str] = {}
    converted: list[Any] = []
    for index, value in enumerate(values):
        converted.append(None)
        try:
            converted[index] = None if value is None else convert(value)
        except (ValueError, ArithmeticError) as error:
            faults[index] = str(error)
    return converted, faults


def near(least: int, most: int, digits: int) -> st.SearchStrategy[str]:
    return st.integers(least, most).map(lambda number: f"{number:0{digits}}")


def quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


days = st.builds("{}-{}-{}".format, near(0, 9999, 4), near(0, 13, 2), near(0, 32, 2))
times = st.builds("{}:{}:{}".format, near(0, 24, 2), near(0, 60, 2), near(58, 60, 2))
fractions = st.one_of(st.just(""), st.from_regex(r"\.(9{1,8}|[0-9]{1,8})", fullmatch=True))
zones = st.sampled_from(["Z", "Z", "z", "", "+00:00", "+05:30", "-23:59", "+24:00"])
moments = st.builds("{}{}{}{}{}".format, days, st.sampled_from("TTTt ,"), times, fractions, zones)
digits = st.one_of(
    st.from_regex(r"0|[1-9][0-9]{0,26}", fullmatch=True),
    st.integers(2**63 - 3, 2**63 + 1).map(str),
    st.integers(300, 400).map(lambda length: "9" * length),
)
exponents = st.one_of(
    st.just(""),
    st.from_regex(r"[eE][+-]?[0-9]{1,4}", fullmatch=True),
    st.sampled_from(["e308", "e-400", "e99999999999999999999", "e-99999999999999999999"]),
)
decimal_places = st.one_of(st.just(""), st.from_regex(r"\.[0-9]{1,7}", fullmatch=True))
numbers = st.builds(
    "{}{}{}{}".format, st.sampled_from(["", "-"]), digits, decimal_places, exponents
)
kinds = [
    numbers,
    numbers.map(quoted),
    st.sampled_from(["true", "false"]),
    moments.map(quoted),
    days.map(quoted),
    st.one_of(st.text(), st.text().map(lambda text: text[:1] * 4001)).map(quoted),
    moments.map(lambda text: f'["{text}","{text}"]'),
    st.just('{"a":1.50}'),
]
columns = st.one_of(
    *(st.lists(st.one_of(kind, st.just("null")), min_size=1) for kind in kinds),
    st.lists(st.one_of(*kinds), min_size=1),
)


@pytest.mark.parametrize("column_type", TYPES)
@settings(deadline=None)
@given(columns)
@example(['"2026-11-22T10:00:00Z"', '"2026-11-22T10:00:00.1234567Z"', "null"])
@example(['"2026-11-22T10:00:00Z,2026-11-22T10:00:00Z"'])
@example(['"9999-12-31T23:59:59.9999999Z"'])
@example(['"9999-12-31T23:59:59-05:00"', '"0001-01-01"'])
@example(["1e-99999999999999999999", "1.7976931348623159e308", "1.7976931348623157e308"])
@example(["1e-99999999999999999999"])
@example(["1", "true", "1.0"])
@example(['"a"', '"a"', '"\\u00e4"'])
def test_a_column_as_a_whole_becomes_what_its_values_become(
    column_type: ColumnType | None, texts: list[str]
):
    values = decoded(*texts)
    ours = converter(column_type, LongStrings.REJECT)
    faults: dict[int, str] = {}
    converted = ours.column(values, faults)
    expected, reasons = one_by_one(values, ours.convert)
    assert msgspec.json.encode(converted) == msgspec.json.encode(expected)
    assert faults == reasons


REGULAR = [
    (None, ["1", "1.50", '"a"', "true", "null", "12345678901234567890123"]),
    (ColumnType.STRING, ['"a"', "null", '"%s"' % ("ä" * 4000)]),
    (ColumnType.INT64, ["-9223372036854775807", "null", "9223372036854775806"]),
    (ColumnType.DOUBLE, ["1", "1.10", "-2E-7", "null", "9" * 300]),
    (ColumnType.DECIMAL, ["1", "-0.1234", "null", "9" * 24]),
    (ColumnType.BOOLEAN, ["true", "false", "null"]),
    (ColumnType.DATETIME, ['"2026-11-22T10:00:00Z"', "null", '"2028-02-29T00:00:00.1234567Z"']),
]


@pytest.mark.parametrize(("column_type", "texts"), REGULAR)
def test_a_column_that_needs_no_conversion_costs_none(
    column_type: ColumnType | None, texts: list[str]
):
    values = decoded(*texts)
    assert converter(column_type, LongStrings.REJECT).column(values, {}) is values
    only_nulls = [None, None]
    assert converter(column_type, LongStrings.REJECT).column(only_nulls, {}) is only_nulls
