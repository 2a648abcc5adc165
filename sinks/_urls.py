"""Addresses in options: checked without repeating them, and what of them is secret."""

import base64
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr
from yarl import URL

_TELLTALE_SEGMENT = 16
"""Path segments from this length on may be a capability (chat webhooks put theirs there)."""


def _strip(value: Any) -> Any:
    """A secret that was read from a file ends with a newline as often as not."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return value.strip() if isinstance(value, str) else value


def check_url(text: str) -> str:
    """The text, an absolute http or https URL; else a ValueError that does not show it."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("write the URL in ASCII and without spaces; percent-encode the rest")
    try:
        url = URL(text, encoded=True)
        good = url.scheme in {"http", "https"} and bool(url.raw_host) and url.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("write an absolute URL that begins with https:// (or http://)")
    return text


def _check_secret_url(value: SecretStr) -> SecretStr:
    check_url(value.get_secret_value())
    return value


def _check_base_url(text: str) -> str:
    parts = urlsplit(check_url(text))
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("write the URL without credentials, query and fragment")
    return text.rstrip("/")


Secret = Annotated[SecretStr, BeforeValidator(_strip)]
"""A secret without the white space around it."""

SecretUrl = Annotated[Secret, AfterValidator(_check_secret_url)]
"""An http or https URL that may hold credentials."""

BaseUrl = Annotated[str, BeforeValidator(_strip), AfterValidator(_check_base_url)]
"""An http or https URL to which paths are added; holds no credentials."""


def origin(url: URL) -> str:
    """`scheme://host:port`: all of a URL that may be shown."""
    return str(url.origin())


def url_secrets(text: str) -> Iterator[str]:
    """What of a URL must not be shown: credentials, query values, long segments of the path."""
    parts = urlsplit(text)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.username is not None:
        yield base64.b64encode(f"{user}:{password}".encode()).decode()
        yield password or user
    yield parts.fragment
    if "=" not in parts.query:
        yield parts.query
    for piece in parts.query.split("&"):
        yield piece.partition("=")[2]
    for _, value in parse_qsl(parts.query):
        yield value
    yield from (segment for segment in parts.path.split("/") if len(segment) >= _TELLTALE_SEGMENT)
