"""One `[sinks.NAME]` table: `type`, what all sinks have, and the options of the type, side by side.

[sinks.sales]
type = "powerbi"        chooses the row of the registry
streams = ["orders.*"]  DeliveryOptions, for the pipeline
push_url = "…"          the type's own options, for the sink
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, PlainValidator, ValidationError
from pydantic_core import InitErrorDetails

from forebay.daemon.delivery.options import DeliveryOptions
from forebay.daemon.settings.faults import fault, moved, refusal
from forebay.sinks import Options
from forebay.sinks.registry import SINKS

_Model = TypeVar("_Model", bound=BaseModel)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class SinkHead(BaseModel):
    """What chooses the rest of a `[sinks.NAME]` table."""

    type: str = Field(description="What kind of sink this is; it decides which options it has.")


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """One configured sink."""

    type: str
    delivery: DeliveryOptions
    options: Options


def sink_models(type_name: object) -> tuple[type[BaseModel], ...]:
    """The models whose keys may stand in the table of a sink of this type."""
    if isinstance(type_name, str) and type_name in SINKS:
        return (SinkHead, DeliveryOptions, SINKS[type_name].options)
    return (SinkHead, DeliveryOptions)


def _type_faults(table: Mapping[str, Any]) -> list[InitErrorDetails]:
    known = ", ".join(f'"{name}"' for name in sorted(SINKS))
    if "type" not in table:
        return [fault(("type",), f"is missing; write one of {known}")]
    name = table["type"]
    if not isinstance(name, str):
        return [fault(("type",), f"must be one of {known}")]
    if name in SINKS:
        return []
    near = difflib.get_close_matches(name, SINKS, n=1)
    hint = f'did you mean "{near[0]}"? ' if near else ""
    return [fault(("type",), f"no such type of sink; {hint}known are {known}")]


def parse_sink(table: Any) -> SinkSettings:
    """The settings in a sink's table. Raises ValidationError with everything that is wrong."""
    if isinstance(table, SinkSettings):
        return table
    if not isinstance(table, Mapping):
        raise refusal("sink", [fault((), 'must be a table with a type, like {type = "stdout"}')])
    shared = {key: table[key] for key in table if key in DeliveryOptions.model_fields}
    own = {key: table[key] for key in table if key != "type" and key not in shared}
    faults = _type_faults(table)
    options = None if faults else _validate(SINKS[table["type"]].options, own, faults)
    delivery = _validate(DeliveryOptions, shared, faults)
    if faults or options is None or delivery is None:
        raise refusal("sink", faults)
    return SinkSettings(table["type"], delivery, options)


def _validate(
    model: type[_Model], table: dict[str, Any], faults: list[InitErrorDetails]
) -> _Model | None:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        faults += moved(error, ())
        return None


def _name_faults(names: list[str]) -> list[InitErrorDetails]:
    faults, seen = [], dict[str, str]()
    for name in names:
        if not _NAME.fullmatch(name):
            faults.append(fault((name,), "a sink's name is 1 to 64 of A-Z a-z 0-9 _ -"))
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            faults.append(fault((name,), f"differs from sinks.{twin} only in case; rename one"))
    return faults


def parse_sinks(tables: Any) -> dict[str, SinkSettings]:
    """All sinks by name. Raises ValidationError with everything that is wrong with any."""
    if not isinstance(tables, Mapping):
        raise refusal("sinks", [fault((), "must be tables, one a sink, like [sinks.sales]")])
    faults = _name_faults(list(tables))
    sinks = {}
    for name, table in tables.items():
        try:
            sinks[name] = parse_sink(table)
        except ValidationError as error:
            faults += moved(error, (name,))
    if faults:
        raise refusal("sinks", faults)
    return sinks


SinkTables = Annotated[dict[str, SinkSettings], PlainValidator(parse_sinks)]
"""The `[sinks]` tables, read by `parse_sinks`."""
