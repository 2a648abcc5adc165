"""Writes docs/configuration.md from the models: `python docs/generate.py`, `--check` to compare."""

import enum
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any, get_args

from pydantic import BaseModel, ByteSize, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from forebay.daemon.delivery.options import DeliveryOptions
from forebay.daemon.settings import Settings
from forebay.daemon.settings.render import toml_value
from forebay.daemon.settings.schema import fields, is_list, is_model, is_table, members
from forebay.daemon.settings.sinks import SinkHead
from forebay.sinks.registry import SINKS

TARGET = Path(__file__).with_name("configuration.md")

INTRODUCTION = """\
# Configuration

<!-- Written by docs/generate.py from the models; change those. -->

`forebay check` validates the settings without starting; every mistake is one line that names its
place. `forebay config` prints the settings that are in effect, secrets masked, and says where each
came from.

## Where settings come from

The first of these that has a value wins:

1. **Environment variables.** `FOREBAY_`, then the key with `__` for each dot, in upper case:
   `FOREBAY_BUFFER__MAX_BYTES=4GiB`, `FOREBAY_SINKS__SALES__PUSH_URL=…`. The case of a name that
   the file has does not matter, and `_` stands for a hyphen too. A list is written `a,b` or as
   JSON, a table as JSON; a table is merged into what the file has. A variable that sets nothing is
   an error, other than those that Kubernetes makes for a service called `forebay`.
2. **Credentials.** Files in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`), named like the
   variable without its prefix, in lower case: `sinks__sales__push_url`. One newline at the end is
   taken off. Files with other names are left alone.
3. **The TOML file**: `-c FILE`, else `$FOREBAY_CONFIG`, else `/etc/forebay/forebay.toml` where it
   exists.
4. **The defaults** below.

Sizes are written with their unit, `64KiB` or `16MB`, durations as `250ms`, `2s`, `1h30m`, `7d`. An
unknown key is an error. Secrets are shown nowhere: not by `forebay config`, not in messages, not in
the log.
"""

SINKS_INTRODUCTION = """\
## [sinks.NAME]

One table a sink. `NAME` is yours: 1 to 64 of `A-Z a-z 0-9 _ -`, beginning with a letter or a digit;
two names must not differ in case only. With no sink every event is refused with 404, unless
`ingest.unrouted = "store"`. The options of every sink, and those of its type, stand in the same
table.
"""

_NAMES: tuple[tuple[type, str], ...] = (
    (SecretStr, "secret text"),
    (SecretBytes, "secret text"),
    (ByteSize, "size"),
    (timedelta, "duration"),
    (bool, "true or false"),
    (int, "whole number"),
    (float, "number"),
    (str, "text"),
    (PurePath, "path"),
)


def document() -> str:
    """The whole of docs/configuration.md."""
    return "\n".join(_document()).rstrip() + "\n"


def _document() -> Iterator[str]:
    yield INTRODUCTION
    yield from _section("", Settings, "## Top level")
    yield SINKS_INTRODUCTION
    yield from _rows(SinkHead)
    yield from _section("sinks.NAME", DeliveryOptions, "### Every sink")
    for name, sink in sorted(SINKS.items()):
        yield from _section("sinks.NAME", sink.options, f'### type = "{name}"')


def _section(path: str, model: type[BaseModel], heading: str) -> Iterator[str]:
    """The options of a model, then those of the tables in it."""
    yield f"{heading}\n"
    plain = [key for key, field in fields(model).items() if not _models(field)]
    if set(plain) - {"sinks"}:
        yield from _rows(model)
    elif not path or path == "sinks.NAME":
        yield "No options of its own.\n"
    level = "##" if not path else "####"
    for key, field in fields(model).items():
        below = f"{path}.{key}" if path else key
        for inner in _models(field):
            free = ".KEY" if not is_model(next(_kinds(field))) else ""
            yield from _section(
                below + free, inner, f"{level} [{below}{free}]\n\n{field.description}"
            )


def _rows(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for key, field in fields(model).items():
        if key != "sinks" and (not _models(field) or not is_model(next(_kinds(field)))):
            cells = (f"`{key}`", _type(field.annotation), _default(field), field.description or "")
            yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
    yield ""


def _kinds(field: FieldInfo) -> Iterator[Any]:
    return (kind for kind in members(field.annotation) if kind is not type(None))


def _models(field: FieldInfo) -> list[type[BaseModel]]:
    """The models of the tables that a field holds: itself, or the values of a free table."""
    found = []
    for kind in _kinds(field):
        inner = list(members(get_args(kind)[1])) if _is_free_table(kind) else [kind]
        found += [model for model in inner if is_model(model)]
    return found


def _is_free_table(kind: Any) -> bool:
    return is_table(kind) and not is_model(kind) and len(get_args(kind)) > 1


def _type(annotation: Any) -> str:
    kinds = [kind for kind in members(annotation) if kind is not type(None)]
    return " or ".join(dict.fromkeys(map(_name, kinds)))


def _name(kind: Any) -> str:
    if is_table(kind):
        inner = "" if is_model(kind) else f" of {_type(get_args(kind)[1])}"
        return "table" if is_model(kind) else f"table{inner}"
    if is_list(kind):
        return f"list of {_type(get_args(kind)[0])}"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(f"`{member.value}`" for member in kind)
    return next((name for known, name in _NAMES if issubclass(kind, known)), kind.__name__)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default_factory, type) or field.default_factory is None:
        default = field.get_default(call_default_factory=True)
        return "not set" if default is None else f"`{toml_value(default)}`"
    return (field.default_factory.__doc__ or "").rstrip(".")


def main() -> int:
    """Write the document, or with --check say whether it is current."""
    text = document()
    if sys.argv[1:] != ["--check"]:
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{TARGET} is not current: run python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
