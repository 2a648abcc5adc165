"""Which `type` in the configuration is which sink. Adding a sink is one file and one line here."""

from difflib import get_close_matches
from typing import Any

from forebay.sinks.base import Sink
from forebay.sinks.file import FileSink
from forebay.sinks.http import HttpSink
from forebay.sinks.powerbi import PowerBISink
from forebay.sinks.stdout import StdoutSink

SINKS: dict[str, type[Sink]] = {
    "file": FileSink,
    "http": HttpSink,
    "powerbi": PowerBISink,
    "stdout": StdoutSink,
}


def sink_class(type_name: Any) -> type[Sink]:
    """The class behind a `type`; a ValueError that names the known ones for any other."""
    found = SINKS.get(type_name) if isinstance(type_name, str) else None
    if found is not None:
        return found
    near = get_close_matches(str(type_name), SINKS, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown sink type {type_name!r}: {guess}known are {', '.join(SINKS)}")
