"""Do answers stay quick while the sink hangs, with an hour's events waiting?

An hour at 50 requests a second is 180,000 events: they are put in first. Then, in turns, 50
requests a second go to forebay and to a web handler that stores nothing.
"""

import tempfile
from pathlib import Path
from statistics import median

from benchmarks.booking import booking
from benchmarks.load import Connection, Latencies, open_loop, post
from benchmarks.processes import HANGING, NOOP, forebay, script
from benchmarks.report import Row

PER_SECOND = 50.0
BACKLOG = 180_000
ROUNDS, REQUESTS = 3, 250


async def run() -> list[Row]:
    ours: list[Latencies] = []
    theirs: list[Latencies] = []
    async with script(HANGING) as sink, script(NOOP) as noop:
        with tempfile.TemporaryDirectory(prefix="forebay-bench-") as directory:
            async with forebay(Path(directory), sink) as (port, _):
                await _fill(port)
                for _ in range(ROUNDS):
                    ours.append(await open_loop(port, _requests(), PER_SECOND))
                    theirs.append(await open_loop(noop, _requests(), PER_SECOND))
    return [_row("p50", 0.5, ours, theirs), _row("p99", 0.99, ours, theirs)]


async def _fill(port: int) -> None:
    connection = await Connection.open(port)
    for _ in range(BACKLOG // 1000):
        body = b"\n".join(booking() for _ in range(1000))
        await connection.send(post("/v1/events/bookings", body, "application/x-ndjson"))
    await connection.close()


def _requests() -> list[bytes]:
    return [post("/v1/events/bookings", booking()) for _ in range(REQUESTS)]


def _row(name: str, share: float, ours: list[Latencies], theirs: list[Latencies]) -> Row:
    mine = [found.quantile(share) for found in ours]
    other = [found.quantile(share) for found in theirs]
    return Row(
        f"answer {name}, 50 requests/s, sink hanging, {BACKLOG:,} events waiting (fsync)",
        f"{median(mine) * 1000:.2f} ms",
        "aiohttp handler that stores nothing",
        f"{median(other) * 1000:.2f} ms",
        median(mine) / median(other),
        max(mine) / min(mine),
    )
