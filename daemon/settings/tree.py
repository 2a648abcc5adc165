"""The values of all sources laid over each other, each with its origin."""

from collections.abc import Iterable, Iterator
from typing import Any

from forebay.daemon.settings import schema
from forebay.daemon.settings.faults import Path
from forebay.daemon.settings.origins import Mistake, Origin, Source
from forebay.daemon.settings.overrides import Override

Origins = dict[Path, Origin]


def from_file(tree: schema.Tree, name: str, lines: dict[tuple[str, ...], int]) -> Origins:
    """The origin of every table and key of a TOML document."""
    return {
        path: Origin(Source.FILE, f"{name}:{lines[path]}" if path in lines else name)
        for path in _paths(tree, ())
    }


def _paths(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _paths(below, (*path, key))


def lay_over(
    tree: schema.Tree, origins: Origins, overrides: Iterable[Override], mistakes: list[Mistake]
) -> Origins:
    """Put the overrides into the tree, the later over the earlier.

    Returns those whose place is nowhere.
    """
    strangers: Origins = {}
    # How a text is read depends on the sink's type, and a table may be refined by its parts.
    for override in sorted(overrides, key=_turn):
        path = _spelled(override.path, tree)
        kinds = schema.at(path, tree)
        if not kinds and path[0] != "sinks":
            strangers[path] = override.origin
            continue
        try:
            value = schema.as_value(override.text, kinds)
        except ValueError as error:
            mistakes.append(Mistake(override.origin.name, path, str(error)))
        else:
            _put(tree, origins, path, value, override.origin)
    return strangers


def _turn(override: Override) -> tuple[bool, bool, int]:
    is_type = override.path[0] == "sinks" and override.path[2:] == ("type",)
    is_credential = override.origin.source is Source.CREDENTIAL
    return not is_type, not is_credential, len(override.path)


def _fold(name: str) -> str:
    # A shell cannot set a variable with a hyphen in its name.
    return name.casefold().replace("-", "_")


def _spelled(path: tuple[str, ...], tree: schema.Tree) -> tuple[str, ...]:
    """The path with each part as it is spelled in the tree or in the models."""
    spelled: tuple[str, ...] = ()
    table: Any = tree
    for part in path:
        there = list(table) if isinstance(table, dict) else []
        known = [*there, *schema.keys(spelled, tree)]
        exact = (name for name in known if name.casefold() == part)
        alike = (name for name in known if _fold(name) == part)
        name = next(exact, None) or next(alike, None) or part
        table = table.get(name) if isinstance(table, dict) else None
        spelled = (*spelled, name)
    return spelled


def _put(tree: schema.Tree, origins: Origins, path: Path, value: Any, origin: Origin) -> None:
    table: Any = tree
    for depth, part in enumerate(path[:-1]):
        origins.setdefault(path[: depth + 1], origin)
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return  # what stands there is wrong already, and will be reported
    if isinstance(value, dict) and isinstance(table.get(path[-1]), dict):
        for key, below in value.items():
            _put(tree, origins, (*path, key), below, origin)
    else:
        _forget(origins, path)
        table[path[-1]] = value
        origins.update((below, origin) for below in _paths(value, tuple(map(str, path))))


def _forget(origins: Origins, path: Path) -> None:
    for known in [known for known in origins if known[: len(path)] == path]:
        del origins[known]
