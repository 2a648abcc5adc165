"""What an operator can set about the buffer: the `[buffer]` table of the configuration."""

import os
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import durationpy
from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, PlainSerializer


class Durability(StrEnum):
    """What an acknowledged event survives."""

    FSYNC = "fsync"
    OS = "os"


class WhenFull(StrEnum):
    """What happens to events for which there is no room."""

    REJECT = "reject"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"


def default_path() -> Path:
    """`buffer.db` in systemd's `$STATE_DIRECTORY`, else below `$XDG_STATE_HOME/forebay`."""
    if state := os.environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0]) / "buffer.db"
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "forebay" / "buffer.db"


def _parse_age(value: Any) -> Any:
    if value == "":
        return None
    if not isinstance(value, str):
        return value
    try:
        return durationpy.from_str(value)
    except durationpy.DurationError:
        raise ValueError('write a duration like 12h or 7d, or "" to keep until delivered') from None


MaxAge = Annotated[
    Annotated[timedelta, Field(gt=timedelta(0))] | None,
    BeforeValidator(_parse_age),
    PlainSerializer(
        lambda age: "" if age is None else durationpy.to_str(age, extended=True), return_type=str
    ),
]


class BufferOptions(BaseModel):
    """The `[buffer]` table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(
        default_factory=default_path,
        description="The buffer's file; its directory is made if it is missing.",
    )
    max_bytes: Annotated[ByteSize, Field(ge=1024 * 1024)] = Field(
        default=ByteSize(2 * 1024**3),
        description="How large the file may grow; what happens then is `when_full`. At least 1MiB.",
    )
    max_age: MaxAge = Field(
        default=None,
        description='Undelivered events older than this are dropped and counted as expired; "" '
        "keeps them until delivered.",
    )
    dead_letters_max_bytes: Annotated[ByteSize, Field(ge=0)] = Field(
        default=ByteSize(256 * 1024**2),
        description="How much of the file dead letters may take, half of `max_bytes` at most; then "
        "the oldest are deleted and counted.",
    )
    dead_letters_max_age: MaxAge = Field(
        default=None,
        description='Dead letters older than this are deleted and counted; "" keeps them.',
    )
    durability: Durability = Field(
        default=Durability.FSYNC,
        description="What an acknowledged event survives: `fsync` power loss, `os` the process.",
    )
    when_full: WhenFull = Field(
        default=WhenFull.REJECT,
        description="`reject` answers 429; `drop_oldest` makes room by dropping what has waited "
        "longest; `drop_newest` answers 200 and drops what does not fit. Drops are counted.",
    )
