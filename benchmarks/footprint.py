"""What does a huge backlog cost: disk, memory, the start, and giving all of it back?

One directory is filled to ten million events once, and goes through all of it: memory and disk
while they wait, starts (in turns with those of an empty one), and at last the drain, while single
events keep coming on another stream.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.backlog import SINK, arrival, delivered, put_in
from benchmarks.booking import NDJSON, booking, lines
from benchmarks.load import Latencies, fill, open_loop, post
from benchmarks.processes import Forebay, Program, forebay, http_sink, program
from benchmarks.report import Row, Target
from benchmarks.start import closed_port, seconds_to_ready

FEW_OF_ONE, FEW, MANY = 1_000_000, 3_000_000, 10_000_000
STARTS = 5
PER_SECOND = 100.0
_STRETCH = 400
"""Requests that are sent on schedule before anybody looks whether it is over."""
_SETTLE = 2.0
_GIVEN_BACK = 0.1
_PATIENCE = 60.0


async def run() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="forebay-bench-") as temporary:
        full, empty = _folder(temporary, "full"), _folder(temporary, "empty")
        return [
            await _one_user(),
            *await _waiting(full),
            await _starts(full, empty),
            *await _given_back(full),
        ]


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent, name)
    folder.mkdir()
    return folder


async def _one_user() -> Row:
    """As little as bookings can differ: nothing is random in them but the id."""
    requests = [post(lines(1000, users=1), NDJSON) for _ in range(20)]
    with closed_port() as nobody:
        async with forebay(_sinks(Program(nobody, 0))) as daemon:
            await fill(daemon.port, requests, FEW_OF_ONE // 1000)
            await asyncio.sleep(_SETTLE)
            disk = daemon.disk_bytes() / FEW_OF_ONE
    what = f"disk, {FEW_OF_ONE:,} bookings of one user waiting"
    return Row(what, "B/event", [disk], target=Target(at_most=20))


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────


async def _waiting(directory: Path) -> list[Row]:
    with closed_port() as nobody:
        async with forebay(_sinks(Program(nobody, 0)), directory=directory) as daemon:
            few = await _grown(daemon, FEW)
            many = await _grown(daemon, MANY - FEW)
            disk = daemon.disk_bytes() / MANY
    limit = Target(at_most=90, of_figure=True)
    return [
        Row(
            f"disk, {MANY:,} bookings of 10,000 users waiting",
            "B/event",
            [disk],
            target=Target(at_most=20),
        ),
        Row(f"memory (RSS), {FEW:,} events waiting", "MB", [few], target=Target(at_most=90)),
        Row(f"memory (RSS), {MANY:,} events waiting", "MB", [many], f"{FEW:,}", [few], limit),
    ]


async def _grown(daemon: Forebay, events: int) -> float:
    """Resident megabytes after so many more events came, and were checkpointed."""
    await put_in(daemon, events)
    await asyncio.sleep(_SETTLE)
    return daemon.usage().resident / 1e6


# ── starting ─────────────────────────────────────────────────────────────────────────────────────


async def _starts(full: Path, empty: Path) -> Row:
    ours, theirs = [], []
    with closed_port() as nobody:
        async with forebay(_sinks(Program(nobody, 0)), directory=empty):
            pass  # it has its files and its configuration now
    for _ in range(STARTS):
        ours.append(await asyncio.to_thread(seconds_to_ready, full / "forebay.toml"))
        theirs.append(await asyncio.to_thread(seconds_to_ready, empty / "forebay.toml"))
    target = Target(at_most=1.0, of_figure=True)
    what = f"start to /readyz, {MANY:,} events waiting"
    return Row(what, "s", ours, "the same with none waiting", theirs, target)


# ── giving back ──────────────────────────────────────────────────────────────────────────────────


async def _given_back(directory: Path) -> list[Row]:
    stop = asyncio.Event()
    async with (
        program("noop") as noop,
        program("sink") as sink,
        program("sink") as other,
        forebay(_sinks(sink, other), directory=directory) as daemon,
    ):
        peak, began = daemon.disk_bytes(), time.perf_counter()
        answers = [asyncio.create_task(_answers(port, stop)) for port in (daemon.port, noop.port)]
        drained = await arrival(sink, MANY)
        small = await _small(daemon, peak * _GIVEN_BACK)
        stop.set()
        ours, theirs = [await task for task in answers]
        await delivered(daemon, sink, MANY)
        most = daemon.usage().peak / 1e6
    note = (
        f"{MANY / (drained - began):,.0f} events/s meanwhile; p99 {ours.quantile(0.99) * 1e3:.1f} "
        f"ms, the handler's {theirs.quantile(0.99) * 1e3:.1f} ms; memory at most {most:.0f} MB"
    )
    return [
        Row(
            f"disk below 10 % of its peak, after the drain of {MANY:,} events",
            "s",
            [max(small - drained, 0.0)],
            target=Target(at_most=30),
            note=f"the peak was {peak / 1e6:,.0f} MB",
        ),
        Row(
            f"slowest answer during that, {PER_SECOND:.0f} requests/s on another stream",
            "ms",
            [ours.most * 1e3],
            "aiohttp handler that stores nothing, at the same time",
            [theirs.most * 1e3],
            Target(at_most=20, of_figure=True),
            note=note,
        ),
    ]


async def _answers(port: int, stop: asyncio.Event) -> Latencies:
    """Of single events on a stream of their own, until somebody says stop."""
    found: list[float] = []
    while not stop.is_set():
        requests = [post(booking(), path="/v1/events/others") for _ in range(_STRETCH)]
        found += (await open_loop(port, requests, PER_SECOND)).values
    return Latencies(tuple(found))


async def _small(daemon: Forebay, size: float) -> float:
    """Wait until the files take less than that; when it was, by time.perf_counter."""
    async with asyncio.timeout(_PATIENCE):
        while daemon.disk_bytes() > size:  # noqa: ASYNC110  another process frees it
            await asyncio.sleep(0.05)
    return time.perf_counter()


def _sinks(to: Program, other: Program | None = None) -> dict[str, dict[str, object]]:
    return {
        SINK: http_sink(to, streams=["bookings"]),
        "others": http_sink(other or to, streams=["others"]),
    }
