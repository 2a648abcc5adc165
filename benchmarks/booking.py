"""The booking event that forebay was made for, and bodies of it."""

import random
from functools import cache
from uuid import UUID

STREAM = "bookings"
NDJSON = "application/x-ndjson"
JSON = "application/json"

_DICE = random.Random(11)  # noqa: S311  the same bodies in every run


USERS = 10_000


def booking(users: int = USERS) -> bytes:
    """One event of 135 bytes, of one of so many users, its id as random as a uuid4."""
    identity = UUID(int=_DICE.getrandbits(128), version=4)
    return (
        b'{"booking_id":"%s","date":"2026-11-22","session_id":"s-%04d",'
        b'"user_id":"u-%04d","status":"RESERVED"}'
        % (str(identity).encode(), _DICE.randrange(users), _DICE.randrange(users))
    )


def lines(count: int, users: int = USERS) -> bytes:
    """NDJSON."""
    return b"\n".join(booking(users) for _ in range(count))


def array(count: int) -> bytes:
    """A JSON array."""
    return b"[" + b",".join(booking() for _ in range(count)) + b"]"


@cache
def bodies(count: int, kind: str = NDJSON, different: int = 20) -> tuple[bytes, ...]:
    """Different bodies of `count` events, made once: making them must not be what is measured."""
    return tuple((lines if kind == NDJSON else array)(count) for _ in range(different))
