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

The mapping is compiled once. Work goes slice by slice (`slices.py` tells why), and in each of them
column by column, so that a column that needs no conversion costs one look at it:

    lines ─► structs with the keys that are needed ─► columns ─► converted ─► structs ─► JSON
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any

import msgspec

from forebay.sinks.base import Batch, Rejected
from forebay.sinks.powerbi.convert import converter
from forebay.sinks.powerbi.options import Column, LongStrings
from forebay.sinks.powerbi.slices import slices
from forebay.sinks.powerbi.source import built_in, inner, is_built_in, path_of, shown

_SHOWN_FAULTS = 3
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Rows = Callable[[Batch], list[bytes]]
"""Makes a batch's rows: pieces of a JSON array, each of some rows with commas between them. Raises
Rejected."""


def pass_through(batch: Batch) -> list[bytes]:
    """The events themselves, byte for byte."""
    return [lines.replace(b"\n", b",") for lines in slices(batch)]


def mapped(columns: Mapping[str, Column], long_strings: LongStrings) -> Rows:
    """What makes rows of these columns."""
    paths = [path_of(c.source) for c in columns.values() if not is_built_in(c.source)]
    reader = _Reader([path[0] for path in paths])
    plans = [_Plan(name, column, long_strings, reader) for name, column in columns.items()]
    row = _struct("Row", list(columns))
    encode = msgspec.json.Encoder().encode

    def rows(batch: Batch) -> list[bytes]:
        sources = [plan.source(batch) for plan in plans]
        faults: dict[int, str] = {}
        pieces: list[bytes] = []
        first = 0
        for lines in slices(batch):
            own: dict[int, str] = {}
            events = reader.read(lines, own)
            values = [
                plan.convert(source(events), own)
                for plan, source in zip(plans, sources, strict=True)
            ]
            pieces.append(encode(list(map(row, *values)))[1:-1])
            faults.update((first + index, text) for index, text in own.items())
            first += len(events)
        if faults:
            raise _rejection(batch, faults)
        return pieces

    return rows


def _struct(name: str, keys: Sequence[str]) -> type[Any]:
    """A type whose fields, in their order, are written as these keys, and null where missing."""
    # The codec takes any name for a key, but its attributes must be names of Python's.
    fields = {f"f{index}": key for index, key in enumerate(keys)}
    return msgspec.defstruct(
        name, [(field, Any, None) for field in fields], rename=fields, gc=False
    )


class _Plan:
    """One column: where its values are found, and what converts them."""

    def __init__(
        self, name: str, column: Column, long_strings: LongStrings, reader: "_Reader"
    ) -> None:
        self._label = f"column {name!r} from {shown(column.source)}"
        self._from = column.source
        self._reader = reader
        self._converter = converter(column.type, long_strings)

    def source(self, batch: Batch) -> Callable[[list[Any]], list[Any]]:
        """What finds the values, for one slice of the batch's events after the other."""
        if is_built_in(self._from):
            values = built_in(str(self._from), batch)
            return lambda events: list(islice(values, len(events)))
        key, *rest = path_of(self._from)
        get = self._reader.getter(key)
        return lambda events: inner(list(map(get, events)), rest)

    def convert(self, values: list[Any], faults: dict[int, str]) -> list[Any]:
        """The column's values; rows that have none are added to `faults` with the reason."""
        found: dict[int, str] = {}
        column = self._converter.column(values, found)
        for index, text in found.items():
            faults.setdefault(index, f"{self._label}: {text}")
        return column


class _Reader:
    """Reads events, with the keys that are needed and no others."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(dict.fromkeys(keys))
        self._event = _struct("Event", self._keys)
        # Raw keeps the spelling of a number that a float would lose.
        self._decoder = msgspec.json.Decoder(self._event, float_hook=msgspec.Raw)

    def getter(self, key: str) -> Callable[[Any], Any]:
        """What takes the value of a key from an event."""
        return attrgetter(f"f{self._keys.index(key)}")

    def read(self, lines: bytes, faults: dict[int, str]) -> list[Any]:
        """The events; one that cannot be read is empty, and told in `faults` by its index."""
        try:
            return self._decoder.decode_lines(lines)
        except _UNREADABLE:
            return [self._one(line, i, faults) for i, line in enumerate(lines.split(b"\n"))]

    def _one(self, line: bytes, index: int, faults: dict[int, str]) -> Any:
        try:
            return self._decoder.decode(line)
        except _UNREADABLE as error:
            faults[index] = f"the event cannot be read: {error}"
            return self._event()


def _rejection(batch: Batch, faults: Mapping[int, str]) -> Rejected:
    """Names the rows and why each; its own text tells of the first few."""
    rows = sorted(faults)
    seqs = [seq for part in batch.parts for seq in range(part.first_seq, part.last_seq + 1)]
    told = [f"row {row} (seq {seqs[row]}), {faults[row]}" for row in rows[:_SHOWN_FAULTS]]
    more = [f"and {len(rows) - len(told)} rows more"] if len(rows) > len(told) else []
    return Rejected("; ".join(told + more), rows=faults)
