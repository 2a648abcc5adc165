"""Where values come from, and what is wrong with them."""

from dataclasses import dataclass
from enum import StrEnum

from forebay.daemon.settings.faults import Path


class Source(StrEnum):
    """What a value was read from."""

    FILE = "file"
    ENVIRONMENT = "environment"
    CREDENTIAL = "credential"


@dataclass(frozen=True, slots=True)
class Origin:
    """`name` is a variable, a credential's file, or the TOML file with the line."""

    source: Source
    name: str

    def __str__(self) -> str:
        return f"{self.source} {self.name}"


def dotted(path: Path) -> str:
    """The path as a person writes it: sinks.sales.batch.linger."""
    return ".".join(str(part) for part in path)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to mend. `where` is a file with its line, a variable, or empty."""

    where: str
    path: Path
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, dotted(self.path), self.what) if part)


class SettingsError(Exception):
    """The settings cannot be used. `lines` says why, one mistake a line, without any secret."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
