"""From a JSON value to what a column of a type takes, a whole column at a time.

| type | takes | sends | refuses |
|---|---|---|---|
| Int64 | whole numbers (`42`, `42.0`, `"42"`) | an integer | fractions; the extremes of 64 bits |
| Double | numbers, numbers as text | the number, spelled as it came | what is not finite |
| Decimal | likewise | rounded half even to 4 places | more than 24 digits before the point |
| Boolean | true, false, 0, 1, `"true"`, `"False"` | true or false | anything else |
| Datetime | ISO 8601 text; without an offset it is UTC | UTC, with `Z` | numbers: of what unit? |
| String | anything | text; numbers as spelled, objects and arrays as JSON | see `long_strings` |
| none | anything | scalars as they are, objects and arrays as JSON text | see `long_strings` |

null stays null. In decoded events a number with a point or an exponent is a `msgspec.Raw`, which
keeps its spelling; any other number is an int, however long.

Sources: Microsoft's "Push semantic model limitations" for Int64, Double, Decimal and 4,000
characters a string; "1/300 s steps" of Datetime are left to the service.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any

import msgspec

from forebay.sinks._error_text import shorten
from forebay.sinks.powerbi import glance
from forebay.sinks.powerbi.options import ColumnType, LongStrings

_SHOWN = 40
_NUMBER = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_PLACES = Decimal("0.0001")
_DECIMAL = Context(prec=28, rounding=ROUND_HALF_EVEN)
_UTC_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,7})?Z")
_BOOLEANS = {"true": True, "false": False}

Convert = Callable[[Any], Any]
"""From one value, not null, to another. Raises ValueError."""


@dataclass(frozen=True, slots=True)
class Converter:
    """Converts columns: not at all where they pass at a glance, else value by value."""

    convert: Convert
    passes: glance.Passes

    def column(self, values: list[Any], faults: dict[int, str]) -> list[Any]:
        """The converted values; what cannot be converted is told in `faults`, by its index."""
        if self.passes(values):
            return values
        return (self._texts if glance.texts(values) else self._each)(values, faults)

    def _texts(self, values: list[str | None], faults: dict[int, str]) -> list[Any]:
        """Converts each text once: days, above all, come again and again."""
        texts = list(dict.fromkeys(values))
        bad: dict[int, str] = {}
        converted = dict(zip(texts, self._each(texts, bad), strict=True))
        if bad:
            reasons = {texts[index]: reason for index, reason in bad.items()}
            faults.update((i, reasons[text]) for i, text in enumerate(values) if text in reasons)
        return list(map(converted.__getitem__, values))

    def _each(self, values: list[Any], faults: dict[int, str]) -> list[Any]:
        converted: list[Any] = []
        for index, value in enumerate(values):
            try:
                converted.append(None if value is None else self.convert(value))
            except (ValueError, ArithmeticError) as error:
                faults[index] = str(error)
                converted.append(None)
        return converted


def converter(column_type: ColumnType | None, long_strings: LongStrings) -> Converter:
    """What turns values into that type."""
    limit = _truncate if long_strings is LongStrings.TRUNCATE else _reject
    match column_type:
        case None:
            return Converter(lambda value: limit(_untyped(value)), glance.short_scalars)
        case ColumnType.STRING:
            return Converter(lambda value: limit(_text(value)), glance.short_texts)
        case _:
            return _FIXED[column_type]


def _refusal(value: Any, what: str) -> ValueError:
    text = msgspec.json.encode(value).decode()
    return ValueError(f"{shorten(text, _SHOWN)} is no {what}")


def _spelling(value: Any, what: str) -> str:
    """The text of a number, which may be text already."""
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return value.strip()
    raise _refusal(value, what)


def _exact(value: Any, what: str) -> Decimal:
    try:
        return Decimal(_spelling(value, what))
    except InvalidOperation:  # an exponent beyond what even Decimal takes
        raise _refusal(value, what) from None


def _int64(value: Any) -> int:
    what = "Int64: a whole number within 64 bits, without the extremes"
    if type(value) is int and value in glance.INT64:
        return value
    exact = _exact(value, what)
    if not (glance.INT64.start <= exact < glance.INT64.stop) or exact != exact.to_integral_value():
        raise _refusal(value, what)
    return int(exact)


def _double(value: Any) -> Any:
    what = "Double: a finite number"
    number = float(_spelling(value, what))
    if not math.isfinite(number):
        raise _refusal(value, what)
    return number if isinstance(value, str) else value


def _decimal(value: Any) -> Any:
    what = "Decimal: a number of at most 24 digits before the point"
    exact = _exact(value, what)
    try:
        rounded = exact.quantize(_PLACES, context=_DECIMAL)
    except InvalidOperation:
        raise _refusal(value, what) from None
    return value if rounded == exact and not isinstance(value, str) else _raw(rounded)


def _raw(number: Decimal) -> msgspec.Raw:
    return msgspec.Raw(format(number, "f"))


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    if isinstance(value, str) and (found := _BOOLEANS.get(value.strip().lower())) is not None:
        return found
    raise _refusal(value, "Boolean")


def _datetime(value: Any) -> str | datetime:
    try:
        if isinstance(value, str):
            return _utc(value)
    except (ValueError, OverflowError):
        pass
    raise _refusal(value, "Datetime: write ISO 8601 text, like 2026-11-22T10:00:00Z")


def _utc(text: str) -> str | datetime:
    """The text, if it is UTC as it stands; else the moment in UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return text if text[-1] == "Z" and _UTC_TEXT.fullmatch(text) else moment.astimezone(UTC)


def _text(value: Any) -> str:
    """Text as it is; a number, an object or an array as its JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _untyped(value: Any) -> Any:
    return _text(value) if isinstance(value, dict | list) else value


def _reject(value: Any) -> Any:
    if isinstance(value, str) and len(value) > glance.MAX_STRING:
        raise ValueError(
            f"the text has {len(value)} characters, Power BI takes {glance.MAX_STRING}; "
            'shorten it, or set long_strings = "truncate"'
        )
    return value


def _truncate(value: Any) -> Any:
    return value[: glance.MAX_STRING] if isinstance(value, str) else value


_FIXED = {
    ColumnType.INT64: Converter(_int64, glance.integers),
    ColumnType.DOUBLE: Converter(_double, glance.doubles),
    ColumnType.DECIMAL: Converter(_decimal, glance.decimals),
    ColumnType.BOOLEAN: Converter(_boolean, glance.booleans),
    ColumnType.DATETIME: Converter(_datetime, glance.moments),
}
