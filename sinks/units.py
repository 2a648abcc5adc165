"""Durations as people write them in the configuration: 250ms, 2s, 1h, 7d."""

from datetime import timedelta
from typing import Annotated, Any

import durationpy
from pydantic import BeforeValidator, Field, PlainSerializer


def _parse(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return durationpy.from_str(value)
    except durationpy.DurationError:
        raise ValueError("write a duration with its unit, like 250ms, 2s, 1h or 7d") from None


Duration = Annotated[
    timedelta,
    BeforeValidator(_parse),
    PlainSerializer(lambda value: durationpy.to_str(value, extended=True), return_type=str),
    Field(ge=timedelta(0)),
]
"""A length of time, at least zero; read from and written as text with units."""
