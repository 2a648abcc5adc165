"""From the sources to the settings: environment over credentials over file over defaults."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from forebay.daemon.settings import locate, schema
from forebay.daemon.settings import tree as trees
from forebay.daemon.settings.mistakes import from_pydantic, in_order, unknown
from forebay.daemon.settings.model import Settings
from forebay.daemon.settings.origins import Mistake, SettingsError, dotted
from forebay.daemon.settings.overrides import (
    CONFIG_VARIABLE,
    from_credentials,
    from_environment,
)

SYSTEM_FILE = Path("/etc/forebay/forebay.toml")

# A secret so short would be masked in the middle of ordinary words.
_SHORTEST_MASKED = 4


class Loaded(NamedTuple):
    """Settings, and where they came from."""

    settings: Settings
    origins: dict[str, str]
    """The source of each key that is not left to its default, by dotted path."""
    file: Path | None
    """The TOML file that was read, if any."""


def find(chosen: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: the chosen one, else $FOREBAY_CONFIG, else the system's where it exists."""
    if chosen is not None:
        return chosen
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return SYSTEM_FILE if SYSTEM_FILE.exists() else None


def load(chosen: Path | None, environ: Mapping[str, str]) -> Loaded:
    """The settings of all sources together.

    Raises SettingsError with every mistake; with only the file's where it is no TOML at all.
    """
    file = find(chosen, environ)
    mistakes: list[Mistake] = []
    tree, origins = _read(file) if file else ({}, {})
    overrides = [*from_credentials(environ, mistakes), *from_environment(environ)]
    strangers = trees.lay_over(tree, origins, overrides, mistakes)
    mistakes += [unknown(path, tree, strangers) for path in strangers]
    settings = _build(tree, origins, mistakes)
    if settings is None or mistakes:
        raise SettingsError(_lines(mistakes, tree))
    return Loaded(settings, dict(_told(tree, (), origins)), file)


def _told(value: Any, path: tuple[str, ...], origins: trees.Origins) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _told(below, (*path, key), origins)
    else:
        yield dotted(path), str(origins[path])


def _read(file: Path) -> tuple[schema.Tree, trees.Origins]:
    text = _text(file)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([_syntax_mistake(file, text, str(error))]) from None
    return tree, trees.from_file(tree, str(file), locate.lines(text))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError([f"{file}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{file}: is not UTF-8 text"]) from None


def _syntax_mistake(file: Path, text: str, message: str) -> str:
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if match is None:
        # What is missing is missing at the end.
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
        return f"{file}:{line}:{column}: is not TOML: {message}"
    return f"{file}:{match[2]}:{match[3]}: is not TOML: {match[1]}"


def _build(tree: schema.Tree, origins: trees.Origins, mistakes: list[Mistake]) -> Settings | None:
    # Keys of nobody stay out: pydantic-settings would take some for arguments of its own.
    known = {key: value for key, value in tree.items() if key in Settings.model_fields}
    mistakes += [unknown((key,), tree, origins) for key in tree if key not in known]
    try:
        return Settings(**known)
    except ValidationError as error:
        mistakes += from_pydantic(error, tree, origins)
        return None


def _lines(mistakes: list[Mistake], tree: schema.Tree) -> list[str]:
    secrets = [
        text for text in schema.secret_texts(tree, (), tree) if len(text) >= _SHORTEST_MASKED
    ]
    return [_masked(str(mistake), secrets) for mistake in in_order(mistakes)]


def _masked(line: str, secrets: list[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        line = line.replace(secret, "***")
    return " ".join(line.splitlines())
