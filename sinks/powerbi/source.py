"""How a column says where its value comes from.

| `from` | value |
|---|---|
| `order.amount` | the member `amount` of the member `order`; a number picks from an array |
| `["@timestamp"]`, `["http.status", "code"]` | the same, key by key, for keys with a dot or an @ |
| `@seq` | the event's position in the buffer, an integer |
| `@stream` | the stream that it was posted to |
| `@received_at` | when the buffer took it, UTC, to the millisecond |
| `@event` | the whole event as text |
| `@attributes.NAME` | an attribute of the CloudEvent that it was, like `id` or `source` |

What is not there is null.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any

from forebay.sinks.base import Batch, Part

Path = tuple[str, ...]

_ATTRIBUTES = "@attributes."
_BUILT_IN = ("@seq", "@stream", "@received_at", "@event")
_UNSAFE = re.compile(r'["\\\x00-\x1f]')


def check_key(key: str) -> str:
    """The name of a key or column, when the JSON codec can carry it."""
    if not key or _UNSAFE.search(key):
        raise ValueError('a name cannot be empty, nor hold ", \\ or control characters')
    return key


def check_source(source: str | Path) -> str | Path:
    """The `from` of a column, when it means something; else a ValueError that says what would."""
    if isinstance(source, str) and source.startswith("@"):
        if source not in _BUILT_IN and not source.startswith(_ATTRIBUTES):
            raise ValueError(
                f"unknown {source!r}: write {', '.join(_BUILT_IN)} or {_ATTRIBUTES}NAME; for a key "
                "of the event that begins with @ write the path as a list"
            )
        return source
    path = path_of(source)
    if not path:
        raise ValueError("the path is empty")
    for key in path:
        check_key(key)
    return source


def is_built_in(source: str | Path) -> bool:
    return isinstance(source, str) and source.startswith("@")


def path_of(source: str | Path) -> Path:
    """The keys, from the event inwards."""
    return tuple(source.split(".")) if isinstance(source, str) else tuple(source)


def shown(source: str | Path) -> str:
    """The source as messages name it."""
    return source if isinstance(source, str) else ".".join(source)


def inner(column: list[Any], path: Sequence[str]) -> list[Any]:
    """What stands at a path inside each of the decoded values; None where nothing does."""
    for key in path:
        column = [
            value.get(key) if type(value) is dict else _element(value, key) for value in column
        ]
    return column


def _element(value: Any, key: str) -> Any:
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return None


def built_in(source: str, batch: Batch) -> Iterator[Any]:
    """The values of a built-in source, one an event."""
    each: Iterable[Iterable[Any]]
    match source:
        case "@event":
            each = (_events(part) for part in batch.parts)
        case "@seq":
            each = (range(part.first_seq, part.last_seq + 1) for part in batch.parts)
        case "@stream":
            each = (repeat(part.stream, part.count) for part in batch.parts)
        case "@received_at":
            each = (repeat(_moment(part), part.count) for part in batch.parts)
        case _:
            name = source.removeprefix(_ATTRIBUTES)
            each = (_attribute(part, name) for part in batch.parts)
    return chain.from_iterable(each)


def _events(part: Part) -> Iterator[str]:
    return (event.decode("utf-8", "replace") for event in part.payload.split(b"\n"))


def _moment(part: Part) -> str:
    moment = datetime.fromtimestamp(part.received_at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _attribute(part: Part, name: str) -> list[str | None]:
    if part.attributes is None:
        return [None] * part.count
    return [entry.get(name) if entry else None for entry in part.attributes]
