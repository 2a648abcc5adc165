"""The head of a request: its bounds, and its fields looked up by name.

Sizes are bounded here because llhttp bounds none: neither the URL, nor a line, nor their number.
A head over the bounds is refused before anything in it is examined, the 403 and 401 included,
since it is the very thing that those checks would read.
"""

from collections.abc import Sequence

import msgspec

from forebay.daemon.ingest.refusal import Refusal

MAX_HEAD = 64 * 1024
"""Bytes of request line and fields."""
MAX_FIELDS = 128
"""Field lines of one request."""

Fields = Sequence[tuple[bytes, bytes]]


class Head(msgspec.Struct, frozen=True):
    """Request line and fields. Names are in lower case; repeated ones are joined by a comma."""

    method: bytes
    target: bytes
    fields: dict[bytes, bytes]
    version: str = "1.1"

    @property
    def length(self) -> int | None:
        """`Content-Length`; the parser has made sure that it is a number."""
        value = self.fields.get(b"content-length")
        return None if value is None else int(value)

    @property
    def chunked(self) -> bool:
        return b"transfer-encoding" in self.fields

    @property
    def awaits_continue(self) -> bool:
        """Whether the client holds its body back until it is told to send it."""
        return (
            b"expect" in self.fields
            and self.version == "1.1"
            and (self.chunked or bool(self.length))
        )

    @property
    def ends_unclear(self) -> bool:
        """Whether it cannot be known where a refused request ends.

        A client that was not told to continue may send its body or not; one that said no length
        may send a body all the same; and what follows CONNECT is no HTTP.
        """
        unsized = self.method == b"POST" and self.length is None and not self.chunked
        return self.awaits_continue or unsized or self.method == b"CONNECT"


def too_large() -> Refusal:
    """What is said to a head over the bounds."""
    return Refusal(
        431, f"the request's head is over {MAX_HEAD} bytes or {MAX_FIELDS} fields: send fewer"
    )


def measure(target: bytes, fields: Fields) -> int:
    """The size of a head in bytes, without its white space."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in fields)


def read_head(method: bytes, target: bytes, lines: Fields, version: str) -> Head:
    """Gather the field lines; refuses what HTTP/1.1 forbids and the parser lets through."""
    if len(lines) > MAX_FIELDS:
        raise too_large()
    fields: dict[bytes, bytes] = {}
    for name, value in lines:
        key = name.lower()
        value = value.strip(b" \t")  # noqa: PLW2901  the parser leaves what follows the value
        fields[key] = fields[key] + b", " + value if key in fields else value
    if version not in ("1.0", "1.1"):
        raise Refusal(400, "speak HTTP/1.1 (or 1.0)")
    if b"transfer-encoding" in fields:
        _check_transfer_encoding(fields, version)
    return Head(method, target, fields, version)


def unupgraded(head: Head) -> bytes:
    """The head again, without its wish to upgrade: what the parser is given to go on with."""
    lines = [
        b"%s: %s\r\n" % (name, value)
        for name, value in head.fields.items()
        if name not in (b"upgrade", b"http2-settings")
    ]
    request = b"%s %s HTTP/%s\r\n" % (head.method, head.target, head.version.encode())
    return request + b"".join(lines) + b"\r\n"


def _check_transfer_encoding(fields: dict[bytes, bytes], version: str) -> None:
    # A length that two parties may read differently is how requests are smuggled (RFC 9112, 6.1).
    if fields[b"transfer-encoding"].lower() != b"chunked" or version == "1.0":
        raise Refusal(400, "the only Transfer-Encoding taken is chunked, in HTTP/1.1")
    if b"content-length" in fields:
        raise Refusal(400, "send Content-Length or Transfer-Encoding, not both")
