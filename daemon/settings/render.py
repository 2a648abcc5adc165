"""The settings as a TOML document that says where each value came from; secrets are masked."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel, ByteSize, SecretBytes, SecretStr

from forebay.daemon.masking import MASKED
from forebay.daemon.settings.load import Loaded
from forebay.daemon.settings.origins import dotted
from forebay.daemon.settings.sinks import SinkSettings
from forebay.daemon.settings.text import duration_text, size_text

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_COMMENT_COLUMN = 40

# pydantic reads the number in front of a unit as a float; without a unit it is exact.
_KIB = 1024


def render(loaded: Loaded) -> str:
    """A TOML document. What is not a default has a comment that names its source."""
    return "\n".join(_table(loaded.settings, (), loaded.origins)).lstrip("\n") + "\n"


def _table(table: Any, path: tuple[str, ...], origins: Mapping[str, str]) -> Iterator[str]:
    options = dict(_options(table))
    tables = {key: value for key, value in options.items() if _is_table(value)}
    if path and (len(tables) < len(options) or not options):
        yield ""
        yield f"[{'.'.join(map(toml_key, path))}]"
    for key, value in options.items():
        if key not in tables:
            line = (
                f"# {key} is not set" if value is None else f"{toml_key(key)} = {toml_value(value)}"
            )
            yield _with_origin(line, _origin((*path, key), origins))
    for key, value in tables.items():
        yield from _table(value, (*path, key), origins)


def _is_table(value: Any) -> bool:
    return isinstance(value, BaseModel | SinkSettings) or (
        isinstance(value, Mapping) and len(value) > 0
    )


def _options(table: Any) -> Iterator[tuple[str, Any]]:
    """The keys of a table with their values, None for those that are not set."""
    if isinstance(table, SinkSettings):
        yield "type", table.type
        yield from _options(table.delivery)
        yield from _options(table.options)
    elif isinstance(table, Mapping):
        yield from table.items()
    else:
        for name, field in type(table).model_fields.items():
            value = getattr(table, name)
            if value is None:
                # Some write the absence of a value as "".
                value = table.model_dump(mode="json", include={name})[name]
            yield field.alias or name, value


def _origin(path: tuple[str, ...], origins: Mapping[str, str]) -> str:
    # A table may have been written in a short form: Column = "path".
    lengths = range(len(path), 0, -1)
    return next((origins[p] for n in lengths if (p := dotted(path[:n])) in origins), "")


def _with_origin(line: str, origin: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in origin)
    return f"{line:<{_COMMENT_COLUMN}}  # {shown}" if shown else line


def toml_value(value: Any) -> str:
    """A value of the settings in TOML. A secret that is set becomes `***`."""
    plain = _plain(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, float) and not math.isfinite(plain):
        return str(plain)
    if isinstance(plain, str):
        # JSON's escapes are TOML's; only DEL is allowed raw in the one and not in the other.
        return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(plain, Mapping):
        pairs = [f"{toml_key(key)} = {toml_value(below)}" for key, below in plain.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(plain, list | tuple):
        return f"[{', '.join(map(toml_value, plain))}]"
    return str(plain)


_PLAIN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (SecretStr | SecretBytes, lambda secret: MASKED if secret.get_secret_value() else ""),
    (Enum, lambda member: member.value),
    (ByteSize, lambda size: int(size) if size % _KIB else size_text(size)),
    (timedelta, duration_text),
    (BaseModel, lambda table: {k: v for k, v in _options(table) if v is not None}),
    (set | frozenset, sorted),
    (bool | int | float | str | Mapping | list | tuple, lambda value: value),
)


def _plain(value: Any) -> Any:
    """The value as one of TOML's types."""
    plain = next((plain for kind, plain in _PLAIN if isinstance(value, kind)), str)
    return plain(value)


def toml_key(key: object) -> str:
    """A key as it stands in TOML, in quotes where it must be."""
    text = str(key)
    return text if _BARE_KEY.fullmatch(text) else toml_value(text)
