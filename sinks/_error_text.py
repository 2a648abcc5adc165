"""Find what is worth reading in the body of a refusal.

Services wrap their reason in JSON of many shapes, in HTML, or in nothing at all; an operator wants
one line. The shapes of Power BI and Entra are those that public issue trackers quote.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_SHOWN = 500
_READ = 4000
_DEPTH = 8
# In the order in which they are read out; the values may be text, or hold more of the same.
_KEYS = (
    "error", "code", "error_description", "title", "message", "reason", "detail", "details",
    "value", "target", "errors", "pbi.error", "innererror", "innerError",
)  # fmt: skip
_TAGS = re.compile(r"(?is)<(script|style|head)\b.*?</\1\s*>|<[^>]*>")


def error_text(body: bytes) -> str:
    """The useful text of an error body on one line, at most 4000 characters; "" without any."""
    text = body.decode("utf-8-sig", "replace")
    document = _parse(text)
    if found := list(dict.fromkeys(_texts(document, _DEPTH))):
        text = ": ".join(found)
    elif "<" in text and document is None:
        text = _TAGS.sub(" ", text[: 4 * _READ])
    return one_line(text[:_READ])


def error_code(body: bytes) -> str | None:
    """The `code` of a body like `{"error": {"code": …}}`, or its `error` where that is text."""
    match _parse(body.decode("utf-8-sig", "replace")):
        case {"error": {"code": str(code)}} | {"error": str(code)}:
            return code
    return None


def one_line(text: str) -> str:
    """The text without line ends and control characters, which could forge log lines."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shorten(text: str, length: int = _SHOWN) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _parse(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


def _texts(node: Any, depth: int) -> Iterator[str]:
    if isinstance(node, str):
        if node.strip():
            yield node.strip()
    elif depth and isinstance(node, list):
        for item in node:
            yield from _texts(item, depth - 1)
    elif depth and isinstance(node, dict):
        for key in _KEYS:
            yield from _texts(node.get(key), depth - 1)
