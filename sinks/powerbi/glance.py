"""Whether a whole column may be sent as it is, told without a look at each value in Python.

Most columns hold what their type takes already. The codec finds that out in C, some fifty times as
fast as `convert.py` converts value by value, which is for the columns that do not pass here.

    column ─► passes? ──yes──► sent as it is
                      ──no───► converted value by value

A column that passes would come out of the conversion the same. The other way round need not hold.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import msgspec

MAX_STRING = 4000
INT64 = range(-(2**63) + 1, 2**63 - 1)
_DIGITS = bytes.maketrans(b"123456789", b"000000000")

Passes = Callable[[list[Any]], bool]
"""Whether a column, whose values may be None, may be sent as it is."""


def holds(value_type: Any) -> Passes:
    """Passes columns of values of a type that the codec knows."""
    column_type = list[value_type | None]

    def passes(column: list[Any]) -> bool:
        try:
            msgspec.convert(column, column_type)
        except msgspec.ValidationError:
            return False
        return True

    return passes


def spells(pattern: str) -> Passes:
    """Passes columns whose values' JSON is spelled so, with a 0 in the place of every digit.

    Columns of thousands of values have few such spellings.
    """
    spelling = re.compile(rf"({pattern})|null".encode())

    def passes(column: list[Any]) -> bool:
        spelled = msgspec.json.encode(column)[1:-1].translate(_DIGITS)
        # A comma within a value makes pieces that fit no pattern: they lack a quote or bracket.
        return all(map(spelling.fullmatch, set(spelled.split(b","))))

    return passes


_short_text = Annotated[str, msgspec.Meta(max_length=MAX_STRING)]
_finite_numbers = msgspec.json.Decoder(list[float | None])
_spelled_in_utc = spells(r'"0000-00-00T00:00:00(\.0{1,7})?Z"')
_moments = holds(datetime)
_short_texts_or_whole = holds(_short_text | int | bool)

texts = holds(str)
short_texts = holds(_short_text)
booleans = holds(bool)
integers = holds(Annotated[int, msgspec.Meta(ge=INT64[0], le=INT64[-1])])
decimals = spells(r"-?0{1,24}(\.0{1,4})?")


def doubles(column: list[Any]) -> bool:
    try:
        _finite_numbers.decode(msgspec.json.encode(column))
    except msgspec.ValidationError:
        return False
    return True


def moments(column: list[Any]) -> bool:
    return _spelled_in_utc(column) and _moments(column)


def short_scalars(column: list[Any]) -> bool:
    # A number that kept its spelling is of no type that the codec knows.
    return _short_texts_or_whole(column) or _short_texts_or_whole(
        [value for value in column if type(value) is not msgspec.Raw]
    )
