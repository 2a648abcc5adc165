"""The last line of defence: known secrets are taken out of whatever is about to be shown."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASKED = "***"

# The key in a push URL or a connection string, and what follows `Bearer`, are as secret as the
# whole. Shorter values are names and versions (`api-version=1.0`), and would be masked everywhere.
_PART = re.compile(r"(?:[?&;][^=?&;]+=| )([^&; ]{12,})")


def _forms(secret: str) -> Iterator[str]:
    """The secret as it may stand in a text: plain, percent-encoded, escaped in JSON or by repr."""
    yield secret
    for encoded in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield encoded
        yield re.sub("%..", lambda match: match[0].lower(), encoded)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]


class Mask:
    """Replaces the given secrets by `***`, in every form in which they may appear."""

    def __init__(self, secrets: Collection[str]) -> None:
        parts = {part for secret in secrets for part in _PART.findall(secret)}
        forms = {form for secret in parts.union(secrets) if secret for form in _forms(secret)}
        # The longest first, so that nothing is left of a secret that contains another.
        ordered = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        return self._pattern.sub(MASKED, text) if self._pattern else text

    def value(self, value: Any) -> Any:
        """The value with its texts masked; what is no JSON value becomes a text first."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(below) for key, below in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(below) for below in value]
        return self.text(value.decode(errors="replace") if isinstance(value, bytes) else str(value))
