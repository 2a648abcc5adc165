"""The secrets in the settings, for those who must keep them from being shown."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, SecretBytes, SecretStr

from forebay.daemon.settings.model import Settings

# Sinks name parts of their secrets too. Shorter ones are ordinary words.
_SHORTEST_PART = 8


@runtime_checkable
class _Secretive(Protocol):
    """Options that know what of them must not be shown."""

    def secrets(self) -> Iterable[str]: ...


def secrets(settings: Settings) -> set[str]:
    """Every secret that is set, and what sinks know to be secret beside."""
    own = {text for text in _texts(settings) if text}
    options = [sink.options for sink in settings.sinks.values()]
    parts = {part for some in options if isinstance(some, _Secretive) for part in some.secrets()}
    return own | {part for part in parts if len(part) >= _SHORTEST_PART}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, SecretBytes):
        yield value.get_secret_value().decode(errors="replace")
    else:
        for below in _below(value):
            yield from _texts(below)


def _below(value: Any) -> list[Any]:
    if isinstance(value, BaseModel):
        return [getattr(value, name) for name in type(value).model_fields]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []
