r"""The head that a connection's last request had: most clients send the same one every time.

    POST /v1/events/bookings HTTP/1.1\r\nHost: …\r\nContent-Length: ‖135‖\r\n…\r\n\r\n
    └─────────────────────────── before ──────────────────────────┘     └──── after ────┘

A request whose head is the same byte for byte, but for the digits of its Content-Length, means the
same to the parser and to every check of the head: to parse and to judge it again would be the
larger part of what a small request costs. What else a judgement rests on is asked anew each time
(`Router.still`), and nothing is known any more once the options change.

Only a head that was parsed and passed every check becomes known, and only to its own connection:
whoever has not sent the token there before does not get by without the check that compares it in
constant time.
"""

import re
from typing import Final

import msgspec

from forebay.daemon.ingest.routes import Post, Router

MAX_KNOWN: Final = 4096
"""Bytes of a head that are kept for each connection."""

_LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*+([0-9]++)\r", re.IGNORECASE)
_DIGITS = 15


class Known(msgspec.Struct, frozen=True):
    """A head, what it asked for, and who judged it."""

    before: bytes
    after: bytes
    post: Post
    router: Router

    def find(self, data: bytes, start: int) -> tuple[int, int] | None:
        """Where the body begins and how long it is, if this head stands at `start`."""
        if not data.startswith(self.before, start):
            return None
        start += len(self.before)
        end = data.find(b"\r", start, start + _DIGITS)
        digits = data[start:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.after, end):
            return None
        return end + len(self.after), int(digits)


def learn(data: bytes, post: Post, router: Router) -> Known | None:
    """What is known of a good head with a length that `data` begins with; None if it is too long.

    The parser takes no line that does not end in CRLF, none that continues another, and no second
    Content-Length: so that the first empty line ends the head, and the first match is the field.
    """
    end = data.find(b"\r\n\r\n", 0, MAX_KNOWN) + 4
    length = _LENGTH.search(data, 0, end)
    if end < 4 or length is None or not data.startswith(b"POST "):  # noqa: PLR2004  none found
        return None
    return Known(data[: length.start(1)], data[length.end(1) : end], post, router)
