"""From a batch to the rows of a request, as a JSON array.

Policies, by the way rows are made:

- **Pass-through** (no `columns`): the bytes of the events are copied, nothing is parsed and nothing
  checked. Long strings, more than 75 columns and nested values are the service's to judge; what it
  refuses with 400 is split to the row and ends in the dead letters.
- **Mapped** (`columns`): at most 75 columns, checked with the configuration. Each value is
  converted as `convert.py` says; objects and arrays become their JSON text, since a push table has
  no nested columns; a string above 4,000 characters is rejected or cut, as `long_strings` says.
  Rows that cannot be converted are named before anything is sent, and only they are lost to the
  table.

The mapping is compiled once. Work goes column by column, so that a column that needs no conversion
costs one look at its types:

    lines ─► structs with the keys that are needed ─► columns ─► converted ─► structs ─► JSON
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from forebay.sinks.base import Batch, Rejected
from forebay.sinks.powerbi.convert import Converter, converter
from forebay.sinks.powerbi.options import Column, LongStrings
from forebay.sinks.powerbi.source import Path, built_in, inner, is_built_in, path_of, shown

_SHOWN_FAULTS = 3
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Rows = Callable[[Batch], bytes]
"""Makes the JSON array of a batch's rows. Raises Rejected."""


def pass_through(batch: Batch) -> bytes:
    """The events themselves, byte for byte."""
    return b"[%b]" % batch.ndjson().replace(b"\n", b",")


def mapped(columns: Mapping[str, Column], long_strings: LongStrings) -> Rows:
    """What makes rows of these columns."""
    plans = [_Plan(name, column, long_strings) for name, column in columns.items()]
    # The codec takes any name for a key, but its attributes must be names of Python's.
    fields = {name: f"c{index}" for index, name in enumerate(columns)}
    row = msgspec.defstruct(
        "Row",
        [(field, Any) for field in fields.values()],
        rename={field: name for name, field in fields.items()},
        gc=False,
    )
    decode = _decoder([plan.path[0] for plan in plans if plan.path])
    encode = msgspec.json.Encoder().encode

    def rows(batch: Batch) -> bytes:
        events = decode(batch)
        faults: dict[int, str] = {}
        values = [plan.values(batch, events, faults) for plan in plans]
        if faults:
            raise _rejection(batch, faults)
        return encode(list(map(row, *values)))

    return rows


class _Plan:
    """One column: where its values are found, and what converts them."""

    def __init__(self, name: str, column: Column, long_strings: LongStrings) -> None:
        self._label = f"column {name!r} from {shown(column.source)}"
        self._built_in = str(column.source) if is_built_in(column.source) else None
        self.path: Path = () if self._built_in else path_of(column.source)
        self._converter: Converter = converter(column.type, long_strings)

    def values(self, batch: Batch, events: "_Decoded", faults: dict[int, str]) -> list[Any]:
        """The column's values; rows that have none are added to `faults` with the reason."""
        found: dict[int, str] = {}
        column = self._converter.column(self._found(batch, events), found)
        for index, text in found.items():
            faults.setdefault(index, f"{self._label}: {text}")
        return column

    def _found(self, batch: Batch, events: "_Decoded") -> list[Any]:
        if self._built_in:
            return built_in(self._built_in, batch)
        column = events.column(self.path[0])
        rest = self.path[1:]
        return [inner(value, rest) for value in column] if rest else column


class _Decoded:
    """The events, with the keys that are needed and no others."""

    def __init__(self, events: list[Any], fields: Mapping[str, str]) -> None:
        self._events = events
        self._fields = fields

    def column(self, key: str) -> list[Any]:
        return list(map(attrgetter(self._fields[key]), self._events))


def _decoder(keys: list[str]) -> Callable[[Batch], _Decoded]:
    fields = {key: f"f{index}" for index, key in enumerate(dict.fromkeys(keys))}
    event = msgspec.defstruct(
        "Event",
        [(field, Any, None) for field in fields.values()],
        rename={field: key for key, field in fields.items()},
        gc=False,
    )
    # Raw keeps the spelling of a number that a float would lose.
    decoder = msgspec.json.Decoder(event, float_hook=msgspec.Raw)

    def decode(batch: Batch) -> _Decoded:
        try:
            return _Decoded(decoder.decode_lines(batch.ndjson()), fields)
        except _UNREADABLE:
            raise _rejection(batch, _unreadable(batch, decoder.decode)) from None

    return decode


def _unreadable(batch: Batch, decode: Callable[[bytes], Any]) -> dict[int, str]:
    faults: dict[int, str] = {}
    for index, event in enumerate(batch.events):
        try:
            decode(event)
        except _UNREADABLE as error:
            faults[index] = f"the event cannot be read: {error}"
    return faults


def _rejection(batch: Batch, faults: Mapping[int, str]) -> Rejected:
    """Names the rows and why each; its own text tells of the first few."""
    rows = sorted(faults)
    seqs = [seq for part in batch.parts for seq in range(part.first_seq, part.last_seq + 1)]
    told = [f"row {row} (seq {seqs[row]}), {faults[row]}" for row in rows[:_SHOWN_FAULTS]]
    more = [f"and {len(rows) - len(told)} rows more"] if len(rows) > len(told) else []
    return Rejected("; ".join(told + more), rows=faults)
