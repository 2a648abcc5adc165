"""From a body to rows: what is a row, what is wrong with it, what is kept.

    body ──unwrap──► JSON array ──inspect──► good rows' bytes + what is wrong with the others

Rows stay the bytes that came, so that what the emulator shows is what was sent. msgspec checks a
whole array at once (a million rows a second); rows are looked at one by one only where somebody
asked for more (a schema, poison), or to say which ones are bad.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from forebay.sinks.powerbi.emulator.faults import Fault
from forebay.sinks.powerbi.emulator.options import (
    EmulatorOptions,
    LongString,
    Schema,
    UnknownColumn,
)
from forebay.sinks.powerbi.emulator.refusal import invalid

_raw_rows = msgspec.json.Decoder(list[msgspec.Raw])


class _Envelope(msgspec.Struct):
    rows: msgspec.Raw


_envelope = msgspec.json.Decoder(_Envelope)


@dataclass(frozen=True, slots=True)
class Bad:
    """One row that is refused, and why. `target` names the field, in the row's place."""

    index: int
    message: str
    field: str | None = None
    poison: Fault | None = None

    @property
    def target(self) -> str:
        return f"rows[{self.index}]" + (f".{self.field}" if self.field else "")


@dataclass(frozen=True, slots=True)
class Inspected:
    """`total` rows came; `good` of them may be stored, as the JSON array `payload`."""

    total: int
    good: int
    payload: bytes
    bad: Sequence[Bad] = ()


def unwrap(body: bytes) -> bytes:
    """The array of `{"rows": [...]}`. Raises `Refused` when the body is anything else."""
    try:
        return bytes(_envelope.decode(body).rows)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise invalid(f'The body must be {{"rows": [...]}}: {fault}') from None


def split(payload: bytes) -> list[msgspec.Raw]:
    """Each element of a JSON array, as bytes. Raises `Refused` when it is none."""
    try:
        return _raw_rows.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise invalid(f"The rows must be a JSON array: {fault}") from None


class Inspector:
    """Holds rows against the options and, where there is one, the table's schema."""

    def __init__(self, options: EmulatorOptions, schema: Schema | None = None) -> None:
        self._options = options
        self._schema = schema
        # The types are made of options.
        text = Annotated[str, msgspec.Meta(max_length=options.string_length)]
        row = Annotated[
            dict[str, text | int | float | bool | None],
            msgspec.Meta(max_length=options.columns),
        ]
        self._flat = msgspec.json.Decoder(list[row])

    def inspect(self, payload: bytes, poisons: Sequence[Fault] = ()) -> Inspected:
        """Raises `Refused` when `payload` is not a JSON array at all."""
        if not self._options.check_rows:
            total = len(split(payload))
            return Inspected(total, total, payload)
        if self._schema is None and not poisons:
            try:
                total = len(self._flat.decode(payload))
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass  # some row is bad: find out which
            else:
                return Inspected(total, total, payload)
        return self._one_by_one(payload, poisons)

    def _one_by_one(self, payload: bytes, poisons: Sequence[Fault]) -> Inspected:
        rows = split(payload)
        good: list[msgspec.Raw] = []
        bad: list[Bad] = []
        for index, raw in enumerate(rows):
            verdict = self._look_at(index, raw, poisons)
            if isinstance(verdict, Bad):
                bad.append(verdict)
            else:
                good.append(verdict)
        return Inspected(len(rows), len(good), msgspec.json.encode(good), bad)

    def _look_at(self, index: int, raw: msgspec.Raw, poisons: Sequence[Fault]) -> msgspec.Raw | Bad:
        try:
            row = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            return Bad(index, f"The row cannot be read: {fault}")
        if not isinstance(row, dict):
            return Bad(index, "A row must be a JSON object")
        if len(row) > self._options.columns:
            return Bad(index, f"A row has at most {self._options.columns} columns")
        for name, value in row.items():
            if wrong := self._wrong_with(name, value):
                return Bad(index, wrong, name)
        for poison in poisons:
            if poison.poisons(row):
                return Bad(index, "The value is refused", next(iter(poison.match or ())), poison)
        return self._shortened(raw, row)

    def _wrong_with(self, name: str, value: Any) -> str | None:
        if isinstance(value, (dict, list)):
            return "Nested values are not supported"
        if (
            isinstance(value, str)
            and len(value) > self._options.string_length
            and self._options.long_string is LongString.REFUSE
        ):
            return f"A string has at most {self._options.string_length} characters"
        if self._schema is None:
            return None
        if name not in self._schema:
            ignored = self._options.unknown_column is UnknownColumn.IGNORE
            return None if ignored else "The table has no such column"
        column = self._schema[name]
        return None if column.takes(value) else f"The value is not of type {column}"

    def _shortened(self, raw: msgspec.Raw, row: dict[str, Any]) -> msgspec.Raw:
        """The row with its strings cut to the limit; every other value keeps its spelling."""
        limit = self._options.string_length
        long = {
            name: value[:limit]
            for name, value in row.items()
            if isinstance(value, str) and len(value) > limit
        }
        if not long:
            return raw
        kept = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return msgspec.Raw(msgspec.json.encode(kept | long))
