"""What pydantic found wrong, one readable line each: where, what, and what to write.

Values are never repeated: the one that is wrong may be a secret in the wrong place.
"""

import difflib
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from pydantic import ByteSize, ValidationError
from pydantic_core import ErrorDetails

from forebay.daemon.settings import schema
from forebay.daemon.settings.faults import Path
from forebay.daemon.settings.origins import Mistake, Origin, Source, dotted
from forebay.daemon.settings.overrides import PREFIX
from forebay.daemon.settings.text import duration_text, size_text
from forebay.daemon.settings.tree import Origins

_TABLE = "must be a table"
_LIST = 'must be a list, like ["a", "b"]'
_SIZE = "must be a size with its unit, like 64KiB or 2GiB"
_DURATION = "must be a duration with its unit, like 250ms, 2s, 1h or 7d"
_WHOLE = "must be a whole number"
_NUMBER = "must be a number"
_BOOL = "must be true or false"
_TEXTS = {
    "bool_parsing": _BOOL,
    "bool_type": _BOOL,
    "byte_size": _SIZE,
    "byte_size_unit": _SIZE,
    "dict_type": _TABLE,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": _LIST,
    "mapping_type": _TABLE,
    "missing": "is missing",
    "model_attributes_type": _TABLE,
    "model_type": _TABLE,
    "path_type": "must be a path, in quotes",
    "set_type": _LIST,
    "setting": "{message}",
    "string_pattern_mismatch": "does not look right",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have {min_length} or more characters",
    "string_type": "must be text, in quotes",
    "time_delta_parsing": _DURATION,
    "time_delta_type": _DURATION,
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have {min_length} or more entries",
    "tuple_type": _LIST,
    "value_error": "{error}",
}
# Where these say too little, the option's own description says what to write.
_DESCRIBED = ("missing", "string_pattern_mismatch")


def from_pydantic(error: ValidationError, tree: schema.Tree, origins: Origins) -> list[Mistake]:
    """The mistakes in `tree` that `error` tells of."""
    by_path: dict[Path, list[str]] = {}
    unions: set[Path] = set()
    for found in error.errors(include_url=False, include_input=False):
        path, union = _place(found["loc"], found["type"], tree)
        if union is not None:
            unions.add(union)
        what = _what(found, path, tree, origins)
        if what not in by_path.setdefault(path, []):
            by_path[path].append(what)
    return [
        Mistake(_where(path, origins), path, " or ".join(whats))
        for path, whats in by_path.items()
        if path not in unions or not _has_below(path, by_path)
    ]


def unknown(path: Path, tree: schema.Tree, origins: Origins) -> Mistake:
    """The mistake of a key that nothing reads."""
    return Mistake(_where(path, origins), path, _unknown(path, tree, origins))


def _has_below(path: Path, paths: Iterable[Path]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in paths)


def _place(loc: Path, kind: str, tree: schema.Tree) -> tuple[Path, Path | None]:
    """The path in the file, and the last place on it where a union chose among types.

    pydantic puts the names of a union's members into its paths; in the file they do not exist.
    """
    path: Path = ()
    union: Path | None = None
    value: Any = tree
    for depth, part in enumerate(loc):
        last = depth == len(loc) - 1
        if _has(value, part):
            value = value[part]
            path = (*path, part)
        elif (last and kind in ("missing", "setting")) or part in schema.keys(path, tree):
            value, path = None, (*path, part)
        else:
            union = path
    return path, union


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _what(found: ErrorDetails, path: Path, tree: schema.Tree, origins: Origins) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(path, tree, origins)
    if kind in ("enum", "literal_error"):
        return f"must be {context['expected']}".replace("'", '"')
    if kind not in _TEXTS:
        return found["msg"].replace("Input should be", "must be")
    is_size = ByteSize in schema.at(path, tree)
    bounds = {name: _bound(value, is_size=is_size) for name, value in context.items()}
    text = _TEXTS[kind].format_map(bounds)
    description = schema.description(path, tree) if kind in _DESCRIBED else ""
    return f"{text}; {description}" if description else text


def _bound(value: Any, *, is_size: bool) -> str:
    if is_size and isinstance(value, int):
        return size_text(value)
    # pydantic gives the bounds of durations as source text.
    if match := re.fullmatch(r"datetime\.timedelta\((.*)\)", str(value)):
        parts = {unit: int(count) for unit, count in re.findall(r"(\w+)=(\d+)", match[1])}
        return duration_text(timedelta(**parts))
    return str(value)


def _unknown(path: Path, tree: schema.Tree, origins: Origins) -> str:
    known = {key: dotted((*path[:-1], key)) for key in schema.keys(path[:-1], tree)}
    near = difflib.get_close_matches(str(path[-1]).lower(), known, n=1)
    likely = [known[key] for key in near] or _elsewhere(path, tree)
    if likely:
        names = " or ".join(_as_written(name, origins.get(path)) for name in likely)
        return f"no such setting; did you mean {names}?"
    return f"no such setting; known here: {', '.join(sorted(known))}"


def _elsewhere(path: Path, tree: schema.Tree) -> list[str]:
    """Settings of other tables that may have been meant."""
    everywhere = {dotted(place): place[-1] for place in schema.paths(tree)}
    same_key = [name for name, key in everywhere.items() if key == path[-1]]
    return difflib.get_close_matches(dotted(path), everywhere, n=1, cutoff=0.75) or same_key[:2]


def _as_written(name: str, origin: Origin | None) -> str:
    if origin is None or origin.source is Source.FILE:
        return name
    name = name.replace(".", "__")
    return name if origin.source is Source.CREDENTIAL else PREFIX + name.upper().replace("-", "_")


def in_order(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """As a person works through them: the lines of the file in their order."""

    def place(mistake: Mistake) -> tuple[str, int]:
        name, _, line = mistake.where.rpartition(":")
        return (name, int(line)) if line.isdigit() else (mistake.where, 0)

    return sorted(dict.fromkeys(mistakes), key=place)


def _where(path: Path, origins: Origins) -> str:
    for length in range(len(path), 0, -1):
        if origin := origins.get(path[:length]):
            return origin.name
    return ""
