"""Rows one at a time, or collected: what each costs where an API takes 50 ms and refuses bad rows.

| | |
|---|---|
| one at a time | forebay with `batch.max_events = 1` |
| collected | forebay with batches of up to 10,000 rows; a refused batch is halved down to the bad rows |
| naive | a client that posts one batch and, when that is refused, posts its rows one at a time |

A batch with one bad row is refused as a whole, as Power BI may do. Rates are taken at the API, from
the first request to the last answer: how the rows got to the client is not in them.
"""  # noqa: E501  a table cannot be broken

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.booking import NDJSON, booking
from benchmarks.load import fill, post
from benchmarks.processes import WAIT, Forebay, Program, forebay, program
from benchmarks.report import Row, Target

ROUNDS, ROWS, BAD = 3, 1000, 3
SECONDS = 0.05
NOTE = (
    "Power BI's documented limits (120 requests a minute, …) are raised out of the way: with them "
    "one at a time is 2 rows/s; what takes a minute, for it waits for the API, runs side by side"
)
KINDS = {"good": 0, "bad": BAD}
_RAISED = {"requests_per_minute": 10**6, "requests_per_hour_large": 10**6, "rows_per_hour": 10**9}
_BATCHES = {
    "single": {"max_events": 1, "linger": "0s"},
    "collected": {"max_events": 10_000},
}


@dataclass(frozen=True)
class Writing:
    """How one sending of the rows went."""

    per_second: float
    requests: int


Table = dict[tuple[str, str], list[Writing]]
"""By who wrote (single, collected, naive) and which rows (good, bad), round by round."""


async def run() -> list[Row]:
    async with program("analytics", str(SECONDS)) as api, forebay(_sinks(api)) as daemon:
        sent = {kind: [_rows(bad, seed) for seed in range(ROUNDS)] for kind, bad in KINDS.items()}
        await asyncio.gather(*(_control(daemon, name, "pause") for name in _sinks(api)))
        for kind, rounds in sent.items():
            for number, rows in enumerate(rounds):
                path = f"/v1/events/{kind}-{number}"
                await fill(daemon.port, [post(b"\n".join(rows), NDJSON, path)], 1, 1)
        table = await _write(api, daemon, sent)
    return _table(table)


def _rows(bad: int, seed: int) -> list[bytes]:
    rows = [booking() for _ in range(ROWS)]
    for index in random.Random(seed).sample(range(ROWS), bad):  # noqa: S311  repeatable
        rows[index] = rows[index].replace(b"RESERVED", b"POISON")
    return rows


def _sinks(api: Program) -> dict[str, dict[str, Any]]:
    """One sink a sending, each with a stream of its own and an account of its own at the API."""
    return {
        f"{how}-{kind}-{number}": {
            "type": "powerbi",
            "streams": [f"{kind}-{number}"],
            "push_url": f"{api.url}/{how}-{kind}-{number}",
            "limits": _RAISED,
            "batch": batch,
        }
        for how, batch in _BATCHES.items()
        for kind in KINDS
        for number in range(ROUNDS)
    }


async def _write(api: Program, daemon: Forebay, sent: dict[str, list[list[bytes]]]) -> Table:
    """What is quick in turns, nothing else running; then all together what waits for the API."""
    table: Table = {}

    async def ours(how: str, kind: str, number: int) -> None:
        found = await _deliver(api, daemon, f"{how}-{kind}-{number}", KINDS[kind])
        table.setdefault((how, kind), []).append(found)

    async def naive(kind: str, number: int) -> None:
        found = await _naive(api, f"naive-{kind}-{number}", sent[kind][number], KINDS[kind])
        table.setdefault(("naive", kind), []).append(found)

    for number in range(ROUNDS):
        await ours("collected", "good", number)
        await naive("good", number)
        await ours("collected", "bad", number)
    slow = [ours("single", kind, number) for kind in KINDS for number in range(ROUNDS)]
    await asyncio.gather(*slow, *(naive("bad", number) for number in range(ROUNDS)))
    return table


async def _deliver(api: Program, daemon: Forebay, name: str, bad: int) -> Writing:
    """Let the sink go, and wait until it has nothing left."""
    await _control(daemon, name, "resume")
    async with asyncio.timeout(WAIT):
        while (sink := (await daemon.status())["sinks"][name])["lag_events"]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # it is another process
    if (sink["delivered"], sink["dead_lettered"]) != (ROWS - bad, bad):
        raise RuntimeError(f"{name}: not the bad rows, and they alone, are dead letters: {sink}")
    return await _account(api, name, bad)


async def _naive(api: Program, name: str, rows: Sequence[bytes], bad: int) -> Writing:
    async with aiohttp.ClientSession() as session:
        result = await collect_then_batch(session, f"{api.url}/{name}", rows)
    if len(result.failed) != bad:
        raise RuntimeError(f"{name}: {result.status}, {len(result.failed)} failed")
    return await _account(api, name, bad)


@dataclass(frozen=True)
class Result:
    """As the naive client tells it; `failed` are indexes of rows."""

    rows: int
    failed: tuple[int, ...]

    @property
    def status(self) -> str:
        if not self.failed:
            return "success"
        return "failed" if len(self.failed) == self.rows else "partial_success"


async def collect_then_batch(
    session: aiohttp.ClientSession, url: str, rows: Sequence[bytes]
) -> Result:
    """The naive way: one batch; when it is refused, one row at a time."""

    async def stored(some: Sequence[bytes]) -> bool:
        async with session.post(url, data=b"[%b]" % b",".join(some)) as answer:
            return answer.status == 200

    if await stored(rows):
        return Result(len(rows), ())
    failed = [index for index, row in enumerate(rows) if not await stored([row])]
    return Result(len(rows), tuple(failed))


async def _account(api: Program, name: str, bad: int) -> Writing:
    """What the API tells of one sending; every good row must be there, once."""
    async with aiohttp.ClientSession() as session, session.get(f"{api.url}/_/{name}") as response:
        account = await response.json()
    ids = account["ids"]
    if len(ids) != ROWS - bad or len(set(ids)) != len(ids):
        raise RuntimeError(f"{name}: {len(ids)} rows at the API, {len(set(ids))} different ones")
    return Writing(ROWS / account["seconds"], account["requests"])


async def _control(daemon: Forebay, sink: str, verb: str) -> None:
    url = f"http://127.0.0.1:{daemon.admin}/v1/sinks/{sink}/{verb}"
    async with aiohttp.ClientSession() as session, session.post(url) as response:
        response.raise_for_status()


def _table(table: Table) -> list[Row]:
    single, naive = "one at a time (batch.max_events = 1)", "batch, else one at a time"
    good, bad = f"{ROWS} good rows", f"{BAD} bad rows in {ROWS}"
    return [
        _rates(good, table["collected", "good"], single, table["single", "good"], 1.4, note=NOTE),
        _rates(bad, table["collected", "bad"], single, table["single", "bad"], 1.4),
        _rates(good, table["collected", "good"], naive, table["naive", "good"], 0.8),
        _rates(bad, table["collected", "bad"], naive, table["naive", "bad"], 5),
        _requests(bad, table["collected", "bad"], naive, table["naive", "bad"]),
    ]


def _rates(
    what: str,
    ours: Sequence[Writing],
    beside: str,
    theirs: Sequence[Writing],
    at_least: float,
    *,
    note: str = "",
) -> Row:
    return Row(
        f"collected: {what}, API of {SECONDS * 1000:g} ms", "rows/s",
        [one.per_second for one in ours], beside, [one.per_second for one in theirs],
        Target(at_least=at_least), note=note,
    )  # fmt: skip


def _requests(what: str, ours: Sequence[Writing], beside: str, theirs: Sequence[Writing]) -> Row:
    return Row(
        f"collected: requests for {what}", "requests",
        [one.requests for one in ours], beside, [one.requests for one in theirs],
        Target(at_most=0.2),
        note="bad rows ended as dead letters, every other row arrived once: checked at the API",
    )  # fmt: skip
