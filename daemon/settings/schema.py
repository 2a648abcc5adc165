"""What may stand at a place of the configuration, read from the models.

A place is a path of names, such as ("sinks", "sales", "batch", "linger"). Since the options of a
sink depend on its type, every question takes the tree of values too.
"""

import json
import types
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from forebay.daemon.settings.faults import Path
from forebay.daemon.settings.model import Settings
from forebay.daemon.settings.sinks import sink_models

Tree = dict[str, Any]
"""Values as in the TOML file: tables in tables."""


def members(annotation: Any) -> Iterator[Any]:
    """The plain types that an annotation allows: the members of a union, without metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for argument in get_args(annotation):
            yield from members(argument)
    else:
        yield annotation


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def is_table(kind: Any) -> bool:
    return is_model(kind) or _container(kind, Mapping)


def is_list(kind: Any) -> bool:
    return not _container(kind, Mapping) and _container(kind, Collection)


def _container(kind: Any, base: type) -> bool:
    outer = get_origin(kind) or kind
    # Texts, and enumerations of texts, are collections too.
    return (
        isinstance(outer, type) and issubclass(outer, base) and not issubclass(outer, str | bytes)
    )


def is_secret(kind: Any) -> bool:
    return kind in (SecretStr, SecretBytes)


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the names that they have in the configuration."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def as_value(text: str, kinds: list[Any]) -> Any:
    """The text as a list or a table where one belongs; other types read text themselves.

    Raises ValueError with what to write instead.
    """
    stripped = text.strip()
    tables, lists = any(map(is_table, kinds)), any(map(is_list, kinds))
    if (tables and stripped.startswith("{")) or (lists and stripped.startswith("[")):
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError("is not valid JSON") from None
    plain = len([kind for kind in kinds if kind is not type(None)]) > tables + lists
    if lists and not plain:
        return [item.strip() for item in stripped.split(",")] if stripped else []
    if tables and not plain:
        raise ValueError('must be a table, as JSON, like {"key": "value"}')
    return text


def at(path: Path, tree: Tree) -> list[Any]:
    """The types that are allowed at `path`; none where nothing may stand there."""
    kinds: list[Any] = [Settings]
    for depth, part in enumerate(path):
        if depth == 1 and path[0] == "sinks":
            kinds = list(sink_models(_sink_type(tree, part)))
        else:
            kinds = [below for kind in kinds for below in _step(kind, part)]
    return kinds


def _sink_type(tree: Tree, name: object) -> object:
    sinks = tree.get("sinks")
    table = sinks.get(name) if isinstance(sinks, dict) else None
    return table.get("type") if isinstance(table, dict) else None


def _step(kind: Any, part: str | int) -> Iterator[Any]:
    if is_model(kind):
        field = fields(kind).get(str(part))
        if field is not None:
            yield from members(field.annotation)
    elif is_table(kind) and len(get_args(kind)) > 1:
        yield from members(get_args(kind)[1])
    elif is_list(kind) and isinstance(part, int) and get_args(kind):
        yield from members(get_args(kind)[0])


def keys(path: Path, tree: Tree) -> list[str]:
    """The keys that the table at `path` may have; none where their names are free."""
    return [key for kind in at(path, tree) if is_model(kind) for key in fields(kind)]


def paths(tree: Tree, below: Path = ()) -> Iterator[Path]:
    """Every key that is known, as a path; of the sinks those that `tree` has."""
    for key in _sink_names(tree) if below == ("sinks",) else keys(below, tree):
        yield (*below, key)
        yield from paths(tree, (*below, key))


def _sink_names(tree: Tree) -> list[str]:
    sinks = tree.get("sinks")
    return list(sinks) if isinstance(sinks, dict) else []


def description(path: Path, tree: Tree) -> str:
    """What the option at `path` is for, as its model says; empty where none does."""
    for kind in at(path[:-1], tree):
        field = fields(kind).get(str(path[-1])) if is_model(kind) else None
        if field is not None and field.description:
            return field.description
    return ""


def secret_texts(value: Any, path: Path, tree: Tree) -> Iterator[str]:
    """The texts in the tree that stand where a secret belongs."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from secret_texts(below, (*path, key), tree)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from secret_texts(below, (*path, index), tree)
    elif isinstance(value, str) and any(map(is_secret, at(path, tree))):
        yield value
