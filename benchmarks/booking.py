"""The booking event that forebay was made for."""

from uuid import uuid4


def booking() -> bytes:
    return (
        b'{"booking_id": "%s", "date": "2026-11-22", "session_id": "s-4711", '
        b'"user_id": "u-1138", "status": "RESERVED"}' % str(uuid4()).encode()
    )
