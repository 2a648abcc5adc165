"""Answers other than success, in the shapes that Power BI and Entra were seen to give them."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec


class Refused(Exception):  # noqa: N818  an answer, not a fault of the emulator
    """The request is answered with `status` and the JSON of `body`."""

    def __init__(self, status: int, body: Any, retry_after: float | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = msgspec.json.encode(body)
        # Whole seconds, rounded up: a client that waits as long as it was told is let in.
        self.headers = {} if retry_after is None else {"Retry-After": str(math.ceil(retry_after))}


def error(status: int, code: str, message: str) -> Refused:
    return Refused(status, {"error": {"code": code, "message": message}})


def bad_rows(details: Sequence[tuple[str, str]]) -> Refused:
    """400 for `details`, pairs of message and target."""
    listed = [{"message": message, "target": target} for message, target in details]
    return Refused(
        400, {"error": {"code": "BadRequest", "message": "Bad Request", "details": listed}}
    )


def invalid(message: str) -> Refused:
    return error(400, "InvalidRequest", message)


def not_found(message: str) -> Refused:
    return error(404, "ItemNotFound", message)


def token_expired() -> Refused:
    return error(403, "TokenExpired", "Access token has expired, resubmit with a new access token")


def throttled(retry_after: float, limit: str) -> Refused:
    """429; the body's wording is the emulator's own, Microsoft documents none."""
    body = {"error": {"code": "TooManyRequests", "message": f"The limit of {limit} is reached"}}
    return Refused(429, body, max(retry_after, 1))


def deprecated() -> Refused:
    message = "Creating push semantic models is no longer supported"
    detail = {"code": "DetailsMessage", "detail": {"type": 0, "value": message}}
    return Refused(
        403,
        {
            "error": {
                "code": "FeatureDeprecatedError",
                "pbi.error": {"code": "FeatureDeprecatedError", "details": [detail]},
            }
        },
    )


def entra(status: int, name: str, number: int, description: str) -> Refused:
    """An error of the token endpoint. The ids are zeros: nothing is traced here."""
    zeros = "00000000-0000-0000-0000-000000000000"
    return Refused(
        status,
        {
            "error": name,
            "error_description": f"AADSTS{number}: {description} Trace ID: {zeros}",
            "error_codes": [number],
            "trace_id": zeros,
            "correlation_id": zeros,
        },
    )
