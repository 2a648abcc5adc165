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
from forebay.sinks.powerbi.options import ColumnType, LongStrings

MAX_STRING = 4000
_SHOWN = 40
_INT64 = range(-(2**63) + 1, 2**63 - 1)
_NUMBER = re.compile(r"[+-]?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_PLACES = Decimal("0.0001")
_DECIMAL = Context(prec=28, rounding=ROUND_HALF_EVEN)
_UTC_TEXT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,7})?Z")
_BOOLEANS = {"true": True, "false": False}

Convert = Callable[[Any], Any]
"""From one value, not null, to another. Raises ValueError."""


@dataclass(frozen=True, slots=True)
class Converter:
    """Converts columns. `passes` says at a glance that a column may be sent as it is."""

    convert: Convert
    passes: Callable[[list[Any]], bool]

    def column(self, values: list[Any], faults: dict[int, str]) -> list[Any]:
        """The converted values; what cannot be converted is told in `faults`, by its index."""
        if self.passes(values):
            return values
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
            return Converter(lambda value: limit(_untyped(value)), _short_scalars)
        case ColumnType.STRING:
            return Converter(lambda value: limit(_text(value)), _short_texts)
        case _:
            return _FIXED[column_type]


def _types(column: list[Any]) -> set[type]:
    return set(map(type, column))


def _no_look(column: list[Any]) -> bool:
    return _types(column) <= {type(None)}


def _booleans(column: list[Any]) -> bool:
    return _types(column) <= {bool, type(None)}


def _short_texts(column: list[Any]) -> bool:
    return _types(column) <= {str, type(None)} and _all_short(column)


def _short_scalars(column: list[Any]) -> bool:
    return _types(column) <= {str, int, bool, msgspec.Raw, type(None)} and _all_short(column)


def _all_short(column: list[Any]) -> bool:
    texts = column if _types(column) == {str} else [text for text in column if type(text) is str]
    return max(map(len, texts), default=0) <= MAX_STRING


def _small_integers(column: list[Any]) -> bool:
    found = _types(column)
    if not found <= {int, type(None)}:
        return False
    values = column if found == {int} else [value for value in column if value is not None]
    return not values or (min(values) in _INT64 and max(values) in _INT64)


def _refusal(value: Any, what: str) -> ValueError:
    text = msgspec.json.encode(value).decode()
    return ValueError(f"{shorten(text, _SHOWN)} is no {what}")


def _exact(value: Any, what: str) -> Decimal:
    """The value of a number, which may be text."""
    try:
        if isinstance(value, msgspec.Raw):
            return Decimal(bytes(value).decode())
        if isinstance(value, int) and not isinstance(value, bool):
            return Decimal(value)
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            return Decimal(value.strip())
    except InvalidOperation:  # an exponent beyond what even Decimal takes
        pass
    raise _refusal(value, what)


def _int64(value: Any) -> int:
    what = "Int64: a whole number within 64 bits, without the extremes"
    exact = _exact(value, what)
    if not (_INT64.start <= exact < _INT64.stop) or exact != exact.to_integral_value():
        raise _refusal(value, what)
    return int(exact)


def _double(value: Any) -> Any:
    what = "Double: a finite number"
    number = float(_exact(value, what))
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


def _datetime(value: Any) -> str:
    what = "Datetime: write ISO 8601 text, like 2026-11-22T10:00:00Z"
    if not isinstance(value, str):
        raise _refusal(value, what)
    try:
        moment = datetime.fromisoformat(value)
        if _UTC_TEXT.fullmatch(value):
            return value
        offset = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _refusal(value, what) from None
    return offset.isoformat().replace("+00:00", "Z")


def _text(value: Any) -> str:
    """Text as it is; a number, an object or an array as its JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _untyped(value: Any) -> Any:
    return _text(value) if isinstance(value, dict | list) else value


def _reject(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_STRING:
        raise ValueError(
            f"the text has {len(value)} characters, Power BI takes {MAX_STRING}; "
            'shorten it, or set long_strings = "truncate"'
        )
    return value


def _truncate(value: Any) -> Any:
    return value[:MAX_STRING] if isinstance(value, str) else value


_FIXED = {
    ColumnType.INT64: Converter(_int64, _small_integers),
    ColumnType.DOUBLE: Converter(_double, _small_integers),
    ColumnType.DECIMAL: Converter(_decimal, _small_integers),
    ColumnType.BOOLEAN: Converter(_boolean, _booleans),
    ColumnType.DATETIME: Converter(_datetime, _no_look),
}
