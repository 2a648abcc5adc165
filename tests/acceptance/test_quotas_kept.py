"""Power BI's documented limits, scaled down until they bind: it never has to answer 429.

Everything here is real but the clock, which the pipeline and the emulator share and which runs
faster than time: so an hour's window turns over in half a second.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from daemon_process import tell
from patience import PATIENCE
from prometheus_client import CollectorRegistry

from forebay.buffer import Store
from forebay.buffer.entry import Entry
from forebay.buffer.options import BufferOptions
from forebay.daemon.clock import SystemClock
from forebay.daemon.delivery.options import DeliveryOptions
from forebay.daemon.delivery.pipeline import Pipeline
from forebay.daemon.delivery.surroundings import Surroundings
from forebay.daemon.metrics import DeliveryMetrics
from forebay.sinks import Context
from forebay.sinks.powerbi import PowerBIOptions, PowerBISink
from forebay.sinks.powerbi.emulator import Emulator, EmulatorOptions

ROWS = 60_000
UNBOUND = 10**9


class FastClock:
    """Runs so many `times` faster than the machine's."""

    def __init__(self, times: float) -> None:
        self._times = times
        self._system = SystemClock()
        self._began, self._began_wall = time.monotonic(), time.time()

    def monotonic(self) -> float:
        return self._began + (time.monotonic() - self._began) * self._times

    def wall(self) -> float:
        return self._began_wall + (time.monotonic() - self._began) * self._times

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        return await self._system.wait(event, seconds / self._times)

    async def sleep(self, seconds: float) -> None:
        await self.wait(asyncio.Event(), seconds)


@dataclass(frozen=True)
class Case:
    """One limit, on both sides; all others are out of the way."""

    name: str
    times: float
    batch: int
    ours: dict[str, Any]
    theirs: dict[str, Any]
    order: str = "strict"
    large: int = 250_000
    delivery: dict[str, Any] = field(default_factory=dict)

    def without_ours(self) -> "Case":
        return replace(self, ours=dict.fromkeys(self.ours, UNBOUND))


CASES = [
    Case(
        "requests per minute",
        times=120,
        batch=500,
        ours={"requests_per_minute": 20},
        theirs={"requests_per_minute": 20},
    ),
    Case(
        "rows per hour",
        times=7200,
        batch=1000,
        ours={"rows_per_hour": 20_000},
        theirs={"rows_per_hour": 20_000},
    ),
    Case(
        "requests per hour of a large table",
        times=7200,
        batch=1000,
        ours={"requests_per_hour_large": 10},
        theirs={"requests_per_hour_large": 10, "large_table_rows": 25_000},
        large=25_000,
    ),
    Case(
        "pending",
        times=100,
        batch=200,
        ours={"pending": 5},
        theirs={"pending": 5, "latency": "2s"},
        order="none",
    ),
]
_FREE = {"requests_per_minute": 0, "rows_per_hour": 0, "requests_per_hour_large": 0, "pending": 0}
_UNBOUND = dict.fromkeys(_FREE, UNBOUND)
by_name = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def sink_of(case: Case, url: str, context: Context) -> PowerBISink:
    options = PowerBIOptions.model_validate({"push_url": url, "limits": _UNBOUND | case.ours})
    sink = PowerBISink(options, context)
    quotas = [
        replace(quota, from_delivered=case.large) if quota.from_delivered else quota
        for quota in sink.limits.quotas
    ]
    sink.limits = replace(sink.limits, quotas=tuple(quotas))
    return sink


@asynccontextmanager
async def delivering(case: Case, directory: Path) -> AsyncIterator[Emulator]:
    """A pipeline with 60,000 rows before it, on its way to an emulator."""
    clock = FastClock(case.times)
    options = EmulatorOptions.model_validate(_FREE | case.theirs)
    store = Store(BufferOptions(path=directory / "buffer.db"))
    await store.open()
    await store.subscribe("demo", ("*",), start_now=False)
    for first in range(0, ROWS, 1000):
        lines = [b'{"n":%d}' % number for number in range(first, first + 1000)]
        await store.append(Entry("demo", b"\n".join(lines), len(lines)))
    delivery = DeliveryOptions.model_validate(
        {"order": case.order, "batch": {"max_events": case.batch}}
    )
    around = Surroundings(store, clock, DeliveryMetrics(CollectorRegistry()))
    async with Emulator(options, clock=clock.monotonic, sleep=clock.sleep) as emulator:
        context = Context("demo", store.ledger.instance, clock.monotonic, clock.wall)
        sink = sink_of(case, emulator.push_url(), context)
        pipeline = Pipeline("demo", sink, delivery, around)
        running = asyncio.create_task(pipeline.run())
        try:
            async with asyncio.timeout(PATIENCE):
                yield emulator
        finally:
            pipeline.drain()
            await running
            await store.close()


@by_name
async def test_power_bi_never_has_to_answer_429(case: Case, tmp_path: Path) -> None:
    async with delivering(case, tmp_path) as emulator:
        await emulator.until(lambda: emulator.requests.rows_stored >= ROWS)

    stats, rows = emulator.requests, emulator.rows("demo")
    assert stats.throttled == 0
    assert stats.max_pending <= 5
    expected = [b'{"n":%d}' % number for number in range(ROWS)]
    assert (rows if case.order == "strict" else sorted(rows)) == (
        expected if case.order == "strict" else sorted(expected)
    )
    tell(
        f"{case.name}: {ROWS} rows in {stats.row_requests} requests, "
        f"{stats.throttled} answers 429, at most {stats.max_pending} pending"
    )


@by_name
async def test_the_limits_of_the_test_above_do_bind(case: Case, tmp_path: Path) -> None:
    async with delivering(case.without_ours(), tmp_path) as emulator:
        await emulator.until(lambda: emulator.requests.throttled > 0)
