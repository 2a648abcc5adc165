"""Settings from outside the file: environment variables and systemd credentials.

Both name a place with two underscores between its parts, FOREBAY_SINKS__SALES__PUSH_URL or the
credential sinks__sales__push_url, and both are text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from forebay.buffer.crash import VARIABLE as CRASH_VARIABLE
from forebay.daemon.settings.model import Settings
from forebay.daemon.settings.origins import Mistake, Origin, Source

PREFIX = "FOREBAY_"
CONFIG_VARIABLE = "FOREBAY_CONFIG"
_NO_SETTINGS = {CONFIG_VARIABLE, CRASH_VARIABLE}

# Kubernetes gives every container variables about the services beside it; a service that is
# called forebay (or forebay-admin, …) must not keep the daemon from starting.
_SERVICE_LINK = re.compile(
    r"FOREBAY(_[A-Z0-9]+)*_"
    r"(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9]+)*|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PORT|PROTO|ADDR))?)"
)
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Override:
    """A text for one place. The parts of `path` are in lower case, as in the name."""

    path: tuple[str, ...]
    text: str
    origin: Origin


def _is_service_link(name: str, value: str) -> bool:
    port = name.endswith("_PORT") and _SERVICE_URL.fullmatch(value) is not None
    return port or _SERVICE_LINK.fullmatch(name) is not None


def from_environment(environ: Mapping[str, str]) -> Iterator[Override]:
    """What the variables FOREBAY_… set."""
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX) or name in _NO_SETTINGS:
            continue
        if not _is_service_link(name, value):
            path = tuple(name.removeprefix(PREFIX).lower().split("__"))
            yield Override(path, value, Origin(Source.ENVIRONMENT, name))


def _is_ours(name: str) -> bool:
    first, separator, _ = name.lower().partition("__")
    return bool(separator) and first in Settings.model_fields


def from_credentials(environ: Mapping[str, str], mistakes: list[Mistake]) -> Iterator[Override]:
    """What the files in $CREDENTIALS_DIRECTORY set; those with names of others are not opened."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return
    try:
        files = sorted(file for file in Path(directory).iterdir() if _is_ours(file.name))
    except OSError as error:
        mistakes.append(Mistake(f"$CREDENTIALS_DIRECTORY {directory}", (), _reason(error)))
        return
    for file in files:
        origin = Origin(Source.CREDENTIAL, str(file))
        try:
            text = file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(Mistake(str(file), (), _reason(error)))
        else:
            yield Override(tuple(file.name.lower().split("__")), text, origin)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    return f"cannot be read: {error.strerror}"
