r"""Keep secrets out of texts that others wrote, however they quote them.

    text ─► peel %xx, \uxxxx, &amp; … layer by layer ─► find pieces of secrets ─► cover them

A piece of eight characters is enough to be covered, so that a secret which somebody cut short is
found too. What is shorter than four characters is no secret.
"""

import base64
import re
from collections import deque
from collections.abc import Iterable, Iterator

_PIECE = 8
_SHORTEST = 4
_LAYERS = 3
_TOKENS_REMEMBERED = 8
_COVER = b"***"

_QUOTED = re.compile(
    r"%(?P<percent>[0-9A-Fa-f]{2})"
    r"|\\(?:u(?P<u>[0-9A-Fa-f]{4})|x(?P<x>[0-9A-Fa-f]{2})|(?P<literal>.))"
    r"|&#(?P<decimal>[0-9]{1,7});|&#[xX](?P<hex>[0-9A-Fa-f]{1,6});"
    r"|&(?P<name>amp|lt|gt|quot|apos);",
    re.DOTALL,
)
_NAMES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}

_Span = tuple[int, int]


class Masker:
    """Replaces every secret in a text, raw or quoted in any usual way, by `***`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._fixed = _pieces(secrets)
        self._tokens: deque[frozenset[str]] = deque(maxlen=_TOKENS_REMEMBERED)

    def add(self, token: str) -> None:
        """Remember a secret that came up at run time; the last few are kept."""
        self._tokens.append(_pieces([token]))

    def __call__(self, text: str) -> str:
        pieces = self._fixed.union(*self._tokens)
        raw = text.encode("utf-8", "replace")
        hidden = bytearray(len(raw))
        for plain, spans in _layers(raw.decode("latin-1")):
            for at, length in _hits(plain, pieces):
                start, stop = spans[at][0], spans[at + length - 1][1]
                hidden[start:stop] = b"\1" * (stop - start)
        return _cover(raw, hidden)


def _pieces(secrets: Iterable[str]) -> frozenset[str]:
    """What to look for: every run of `_PIECE` characters of each secret and of its base64."""
    found: set[str] = set()
    for secret in secrets:
        if len(secret) < _SHORTEST:
            continue
        raw = secret.encode("utf-8", "replace")
        coded = (base64.b64encode(raw), base64.urlsafe_b64encode(raw))
        for form in (raw, *(code.rstrip(b"=") for code in coded)):
            for plain, _ in _layers(form.decode("latin-1")):
                folded = _fold(plain)
                found.update(
                    folded[at : at + _PIECE] for at in range(max(1, len(folded) - _PIECE + 1))
                )
    return frozenset(found)


def _fold(text: str) -> str:
    """Forms decode `+` to a space, and some servers change the case."""
    return text.lower().replace("+", " ")


def _hits(plain: str, pieces: frozenset[str]) -> Iterator[tuple[int, int]]:
    folded = _fold(plain)
    for length in {len(piece) for piece in pieces}:
        for at in range(len(folded) - length + 1):
            if folded[at : at + length] in pieces:
                yield at, length


def _layers(text: str) -> Iterator[tuple[str, list[_Span]]]:
    """The text (one character a byte), then with one layer of quoting less, and so on.

    With each the place in the first text that every character came from.
    """
    spans = [(at, at + 1) for at in range(len(text))]
    yield text, spans
    for _ in range(_LAYERS):
        if _QUOTED.search(text) is None:
            return
        text, spans = _peel(text, spans)
        yield text, spans


def _peel(text: str, spans: list[_Span]) -> tuple[str, list[_Span]]:
    plain: list[str] = []
    origins: list[_Span] = []
    end = 0
    for match in _QUOTED.finditer(text):
        start, stop = match.span()
        plain.append(text[end:start])
        origins += spans[end:start]
        meant = _meaning(match)
        plain.append(meant)
        origins += [(spans[start][0], spans[stop - 1][1])] * len(meant)
        end = stop
    plain.append(text[end:])
    origins += spans[end:]
    return "".join(plain), origins


def _meaning(match: re.Match[str]) -> str:
    """What one quoted character stands for, as one character a byte."""
    kind, value = match.lastgroup, match[match.lastgroup or 0]
    if kind == "percent":
        return chr(int(value, 16))
    if kind == "literal":
        return value
    if kind == "name":
        return _NAMES[value]
    code = int(value, 10 if kind == "decimal" else 16)
    return chr(min(code, 0x10FFFF)).encode("utf-8", "replace").decode("latin-1")


def _cover(raw: bytes, hidden: bytearray) -> str:
    shown = bytearray()
    for at, byte in enumerate(raw):
        if not hidden[at]:
            shown.append(byte)
        elif at == 0 or not hidden[at - 1]:
            shown += _COVER
    return shown.decode("utf-8", "replace")
