"""People who book on a schedule of their own: they wait for nobody, and outlive the server."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from benchmarks.load import Client, post

PATH = "/bookings"
_PATIENCE = 30.0
"""Seconds after which somebody gives up."""


@dataclass(frozen=True)
class Booking:
    """What somebody wants: the booking's id, and the request as it goes over the wire."""

    id: str
    request: bytes


@dataclass(frozen=True)
class Answer:
    """What somebody got. `status` is 0 where the connection broke or was refused."""

    booking: str
    status: int
    seconds: float
    """Since the request was due."""


def bookings(count: int, seed: str) -> list[Booking]:
    """The same ones for the same seed."""
    dice = random.Random(seed)  # noqa: S311  repeatable, not secret
    return [_booking(dice) for _ in range(count)]


def _booking(dice: random.Random) -> Booking:
    event = {
        "booking_id": str(UUID(int=dice.getrandbits(128), version=4)),
        "date": "2026-11-22",
        "session_id": f"s-{dice.randrange(10_000):04d}",
        "user_id": f"u-{dice.randrange(10_000):04d}",
        "status": "RESERVED",
    }
    return Booking(event["booking_id"], post(json.dumps(event).encode(), path=PATH))


async def book(port: int, wanted: Sequence[Booking], per_second: float) -> list[Answer]:
    """Send each when it is due, however many others wait for their answers."""
    people = _People(port)
    began = time.perf_counter() + 0.05
    answers = await asyncio.gather(
        *(people.book(one, began + index / per_second) for index, one in enumerate(wanted))
    )
    people.leave()
    return answers


class _People:
    """They share connections that nobody uses just now."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Client] = []

    async def book(self, booking: Booking, due: float) -> Answer:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        try:
            async with asyncio.timeout(_PATIENCE):
                client = await self._client()
                status = await client.send(booking.request)
        except OSError:  # TimeoutError is one
            return Answer(booking.id, 0, time.perf_counter() - due)
        self._idle.append(client)
        return Answer(booking.id, status, time.perf_counter() - due)

    async def _client(self) -> Client:
        """One whose connection stands at this moment: else nobody would tell it that it broke."""
        while self._idle:
            if _stands(client := self._idle.pop()):
                return client
        if not _stands(client := await Client.open(self._port)):
            raise ConnectionResetError("the server closed")
        return client

    def leave(self) -> None:
        for client in self._idle:
            client.close()


def _stands(client: Client) -> bool:
    return client.transport is not None and not client.transport.is_closing()
