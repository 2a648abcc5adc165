"""The types that a push table's columns can have, and which JSON values they take."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

_INT64_EXTREME = 2**63 - 1


class ColumnType(StrEnum):
    """A column's `dataType`; read without regard to case, with the spellings of the API's pages."""

    INT64 = "Int64"
    DOUBLE = "Double"
    BOOLEAN = "Boolean"
    DATETIME = "Datetime"
    STRING = "String"
    DECIMAL = "Decimal"

    @classmethod
    def _missing_(cls, value: object) -> "ColumnType | None":
        return _SPELLINGS.get(str(value).lower())

    def takes(self, value: str | float | bool | None) -> bool:  # noqa: FBT001  a JSON value
        """Whether a column of this type stores `value`; null fits every type."""
        return value is None or _TAKES[self](value)


_SPELLINGS = {member.value.lower(): member for member in ColumnType} | {
    "bool": ColumnType.BOOLEAN,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_int64(value: Any) -> bool:
    # The documentation excludes Int64's smallest and largest value.
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and -_INT64_EXTREME - 1 < value < _INT64_EXTREME
    )


def _is_datetime(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


_TAKES: dict[ColumnType, Callable[[Any], bool]] = {
    ColumnType.INT64: _is_int64,
    ColumnType.DOUBLE: _is_number,
    ColumnType.BOOLEAN: lambda value: isinstance(value, bool),
    ColumnType.DATETIME: _is_datetime,
    ColumnType.STRING: lambda value: isinstance(value, str),
    ColumnType.DECIMAL: _is_number,
}
