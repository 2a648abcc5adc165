"""Line numbers in a TOML file, which tomllib does not tell."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

# Strings and comments are taken whole, so that what they contain is not taken for structure.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}\n]"
    r"""|[^"'\#\[\]{}\n]+""",
    re.DOTALL,
)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The number of its first line, and each statement: a key with its value, or a header."""
    line, first, depth = 1, 1, 0
    gathered: list[str] = []
    for piece in _TOKEN.findall(text + "\n"):
        if piece == "\n" and depth == 0:
            yield first, "".join(gathered)
            gathered = []
            first = line + 1
        else:
            gathered.append(piece)
            depth += (piece in ("[", "{")) - (piece in ("]", "}"))
        line += piece.count("\n")


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(below, (*path, key))


def lines(text: str) -> dict[tuple[str, ...], int]:
    """The line on which each key and table of a valid TOML document begins."""
    found: dict[tuple[str, ...], int] = {}
    header: tuple[str, ...] = ()
    for number, statement in _statements(text):
        parsed = tomllib.loads(statement)
        is_header = statement.lstrip().startswith("[")
        for path in _leaves(parsed, ()):
            found.setdefault(path if is_header else (*header, *path), number)
        if is_header:
            header = _header_path(parsed)
    return found


def _header_path(parsed: Any) -> tuple[str, ...]:
    path: list[str] = []
    while parsed:
        table = parsed[0] if isinstance(parsed, list) else parsed
        if not table:
            break
        ((key, parsed),) = table.items()
        path.append(key)
    return tuple(path)
