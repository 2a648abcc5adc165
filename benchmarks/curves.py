"""How throughput and answer times grow: over connections, body sizes and events that wait.

Drawn as SVG for the documents; the table says how far each curve falls from its best.
"""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.booking import JSON, NDJSON, bodies
from benchmarks.load import Throughput, closed_loop, open_loop, post
from benchmarks.plots import Line, Panel, draw
from benchmarks.processes import Forebay, Program, forebay, http_sink, program
from benchmarks.report import Row, number

FOLDER = Path("docs/performance")
CONNECTIONS = (1, 4, 16, 64, 256, 512)
BODY_SIZES = (1, 10, 100, 1_000, 10_000)
BACKLOGS = (0, 1_000_000, 3_000_000, 10_000_000)
SECONDS = 2
PER_SECOND, PACED = 500.0, 1_500
"""Single posts, and how many of them, while so many events wait."""
_OURS, _NOOP = "forebay, fsync before each answer", "aiohttp handler that stores nothing"


@dataclass
class Curve:
    """Points of one program."""

    over: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    """Events."""
    p99: list[float] = field(default_factory=list)
    """Milliseconds."""

    def add(self, over: float, found: Throughput, events: int) -> None:
        """One more point, of bodies of so many events."""
        self.over.append(over)
        self.per_second.append(found.per_second * events)
        self.p99.append(found.p99 * 1000)


async def run() -> list[Row]:
    if find_spec("matplotlib") is None:
        print("curves: matplotlib is missing (pip install '.[dev]'): left out", file=sys.stderr)
        return []
    return [*await _connections(), *await _body_sizes(), *await _backlog()]


async def _connections() -> list[Row]:
    singles = bodies(1, different=1000)
    ours, noop = Curve(), Curve()
    async with _programs() as (daemon, other):
        for count in CONNECTIONS:
            for curve, port in ((ours, daemon.port), (noop, other.port)):
                curve.add(count, await closed_loop(port, singles, JSON, count, SECONDS), 1)
    _draw_both("connections", "connections, one event a request", ours, noop)
    return [_fall("single-event POSTs", "requests/s", "connections", ours)]


async def _body_sizes() -> list[Row]:
    ours, noop = Curve(), Curve()
    async with _programs() as (daemon, other):
        for events in BODY_SIZES:
            made = bodies(events, different=max(20, 1000 // events))
            for curve, port in ((ours, daemon.port), (noop, other.port)):
                found = await closed_loop(port, made, NDJSON, 4, SECONDS)
                curve.add(events, found, events)
    _draw_both("body-sizes", "events in an NDJSON body, 4 connections", ours, noop)
    return [_fall("NDJSON bodies", "events/s", "events each", ours)]


async def _backlog() -> list[Row]:
    """Bodies are put in second by second; at each of the marks, single posts are timed."""
    filling, answers, waiting = Curve(), Curve(), 0
    async with _programs() as (daemon, _):
        for mark in BACKLOGS:
            while waiting < mark:
                found = await closed_loop(daemon.port, bodies(1000), NDJSON, 4, 1)
                waiting = await daemon.lag()
                filling.add(waiting, found, 1000)
            answers.over.append(waiting)
            answers.p99.append(await _answer_p99(daemon))
    draw(
        FOLDER / "backlog.svg",
        "events that wait",
        Panel("events/s, NDJSON bodies of 1000", [Line(_OURS, filling.over, filling.per_second)]),
        Panel("answer p99 in ms, 500 single posts/s", [Line(_OURS, answers.over, answers.p99)]),
        log=False,
    )
    return [
        _fall("NDJSON bodies of 1,000", "events/s", "events waiting", filling),
        Row(
            f"answer p99, 500 requests/s, {answers.over[-1]:,.0f} events waiting", "ms",
            answers.p99[-1:], "the same, none waiting", answers.p99[:1],
            note=_points(answers.over, answers.p99),
        ),
    ]  # fmt: skip


@asynccontextmanager
async def _programs() -> AsyncIterator[tuple[Forebay, Program]]:
    """A daemon whose sink hangs, and the no-op."""
    async with (
        program("sink", "hang") as sink,
        program("noop") as noop,
        forebay({"bench": http_sink(sink)}) as daemon,
    ):
        yield daemon, noop


async def _answer_p99(daemon: Forebay) -> float:
    requests = [post(body) for body in bodies(1, different=PACED)]
    return (await open_loop(daemon.port, requests, PER_SECOND)).quantile(0.99) * 1000


def _draw_both(name: str, over: str, ours: Curve, noop: Curve) -> None:
    both = ((_OURS, ours), (_NOOP, noop))
    draw(
        FOLDER / f"{name}.svg",
        over,
        Panel("events/s", [Line(name, curve.over, curve.per_second) for name, curve in both]),
        Panel("answer p99 in ms", [Line(name, curve.over, curve.p99) for name, curve in both]),
    )


def _fall(what: str, unit: str, over: str, curve: Curve) -> Row:
    """The last point of a curve beside its best."""
    best = max(curve.per_second)
    at = curve.over[curve.per_second.index(best)]
    return Row(
        f"{what}, {curve.over[-1]:,.0f} {over}", unit, curve.per_second[-1:],
        f"the best of the curve: {at:,.0f} {over}", [best],
        note=_points(curve.over, curve.per_second),
    )  # fmt: skip


def _points(over: Sequence[float], values: Sequence[float]) -> str:
    """At most ten of the points, the last one among them."""
    pairs = list(zip(over, values, strict=True))[:: -1 - (len(over) - 1) // 10][::-1]
    return " · ".join(f"{x:,.0f}: {number(value)}" for x, value in pairs)
