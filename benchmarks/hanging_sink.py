"""Do answers stay quick while the sink hangs, with an hour's events waiting?

An hour at 50 requests a second is 180,000 events: they are put in first. Then, in turns, 50
requests a second go to forebay and to a web handler that stores nothing.
"""

from benchmarks.booking import NDJSON, bodies, booking
from benchmarks.load import Latencies, fill, open_loop, post
from benchmarks.processes import forebay, http_sink, program
from benchmarks.report import Row

PER_SECOND = 50.0
BACKLOG = 180_000
ROUNDS, REQUESTS = 3, 250


async def run() -> list[Row]:
    ours: list[Latencies] = []
    theirs: list[Latencies] = []
    async with (
        program("sink", "hang") as sink,
        program("noop") as noop,
        forebay({"bench": http_sink(sink)}) as daemon,
    ):
        await fill(daemon.port, [post(body, NDJSON) for body in bodies(1000)], BACKLOG // 1000)
        for _ in range(ROUNDS):
            ours.append(await open_loop(daemon.port, _requests(), PER_SECOND))
            theirs.append(await open_loop(noop.port, _requests(), PER_SECOND))
    return [_row("p50", 0.5, ours, theirs), _row("p99", 0.99, ours, theirs)]


def _requests() -> list[bytes]:
    return [post(booking()) for _ in range(REQUESTS)]


def _row(name: str, share: float, ours: list[Latencies], theirs: list[Latencies]) -> Row:
    return Row(
        f"answer {name}, 50 requests/s, sink hanging, {BACKLOG:,} events waiting",
        "ms",
        [found.quantile(share) * 1000 for found in ours],
        "aiohttp handler that stores nothing",
        [found.quantile(share) * 1000 for found in theirs],
    )
