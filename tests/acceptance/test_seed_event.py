"""The event that forebay was made for, all the way to Power BI."""

import json
import random
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from daemon_process import Daemon, post, tell, write_config

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]


def bookings(count: int) -> list[bytes]:
    rng = random.Random(7)
    return [
        json.dumps(
            {
                "booking_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "date": f"2026-11-{1 + number % 30:02}",
                "session_id": f"s{number:04}",
                "user_id": f"u{rng.randrange(1000)}",
                "status": "RESERVED",
            }
        ).encode()
        for number in range(count)
    ]


async def test_a_hundred_posts_within_one_linger_need_no_hundred_requests(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    sink = {"type": "powerbi", "push_url": emulator.push_url()}
    daemon = await launch(write_config(tmp_path, sinks={"demo": sink}))
    events = bookings(100)

    for event in events:
        answer = await post(session, daemon, event, "bookings")
        assert answer.status == 200, answer.body
    await emulator.until(lambda: emulator.requests.rows_stored >= 100)

    assert emulator.rows("demo") == events
    assert emulator.requests.row_requests <= 3
    assert await daemon.stop() == 0
    assert emulator.rows("demo") == events
    tell(f"100 posts reached the emulator in {emulator.requests.row_requests} request(s)")
