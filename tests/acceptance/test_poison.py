"""Three poison rows among a thousand cost themselves, and nothing else; and they can be mended."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from math import ceil, log2
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from daemon_process import (
    NDJSON,
    Answer,
    Daemon,
    Finished,
    ask,
    command,
    post,
    tell,
    until,
    write_config,
)
from prometheus_client.parser import text_string_to_metric_families

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]

ROWS = 1000
POISON = (0, 500, 777)
SETTLED = ("delivered", "dead_lettered", "dropped", "expired", "quarantined")


def configuration(directory: Path, emulator: Emulator) -> Path:
    sink = {
        "type": "powerbi",
        "push_url": emulator.push_url(),
        "columns": {"id": "id", "price": "price"},
        "batch": {"linger": "5ms"},
        "limits": {"requests_per_minute": 10**6},
    }
    return write_config(directory, sinks={"sales": sink})


def event(number: int) -> bytes:
    return b'{"id":%d,"price":%d.10}' % (number, number)


class Accounts:
    """What `/metrics` says of the sink."""

    def __init__(self, answer: Answer) -> None:
        self._values = {
            (sample.name, sample.labels.get("outcome")): sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
            if sample.labels.get("sink") == "sales"
        }

    def outcome(self, name: str) -> int:
        return int(self._values["forebay_sink_events_total", name])

    def value(self, name: str) -> int:
        return int(self._values[f"forebay_{name}", None])

    @property
    def unaccounted(self) -> int:
        routed = self.value("sink_routed_events_total") + self.outcome("replayed")
        return routed - sum(map(self.outcome, SETTLED)) - self.value("sink_lag_events")

    def __repr__(self) -> str:
        return repr(self._values)


@asynccontextmanager
async def audited(session: aiohttp.ClientSession, daemon: Daemon) -> AsyncIterator[list[Accounts]]:
    """Scrapes again and again meanwhile; at the end the books must have balanced every time."""
    scrapes: list[Accounts] = []

    async def scrape() -> None:
        while True:
            scrapes.append(Accounts(await ask(session, "GET", f"{daemon.admin}/metrics")))

    task = asyncio.create_task(scrape())
    try:
        yield scrapes
    finally:
        task.cancel()
        (end,) = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(end, asyncio.CancelledError), end
    assert [scrape for scrape in scrapes if scrape.unaccounted] == []


async def accounts(session: aiohttp.ClientSession, daemon: Daemon, **wanted: int) -> Accounts:
    """The books, once they show what is wanted."""

    def met(answer: Answer) -> bool:
        found = Accounts(answer)
        return all(
            (found.outcome(name) if name in SETTLED else found.value(name)) == value
            for name, value in wanted.items()
        )

    return Accounts(await until(session, f"{daemon.admin}/metrics", met))


async def dead_letters(daemon: Daemon, *words: str) -> Finished:
    """The command as an operator types it."""
    address = urlsplit(daemon.admin).netloc
    return await command(
        "dead-letters", *words, "-c", str(daemon.config), FOREBAY_ADMIN__LISTEN=address
    )


def letters(finished: Finished) -> dict[int, Mapping[str, object]]:
    """By id, those that `ls --json` printed."""
    assert (finished.status, finished.errors) == (0, "")
    return {item["id"]: item for item in json.loads(finished.output)["items"]}


def arrived(emulator: Emulator) -> Counter[int]:
    return Counter(json.loads(row)["id"] for row in emulator.rows("demo"))


async def test_three_poison_rows_are_dead_letters_that_can_be_sent_again(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    for number in POISON:
        emulator.fault("poison", match={"id": number})
    daemon = await launch(configuration(tmp_path, emulator))
    async with audited(session, daemon) as scrapes:
        # All but the poison arrive once, and at a bounded price.
        body = b"\n".join(map(event, range(ROWS)))
        url = f"{daemon.ingest}/v1/events/bookings"
        assert (await ask(session, "POST", url, data=body, headers=NDJSON)).status == 200
        await accounts(session, daemon, sink_lag_events=0, dead_lettered=3, dead_letters=3)
        requests = emulator.requests.row_requests
        healthy = set(range(ROWS)) - set(POISON)
        assert arrived(emulator) == Counter(healthy)
        assert requests <= len(POISON) * (2 * ceil(log2(ROWS)) + 1) + 10

        # The dead letters say why, and have the bytes that came.
        listed = await dead_letters(daemon, "ls", "--sink", "sales", "--json")
        before = letters(listed)
        assert [item["seq"] for item in before.values()] == [number + 1 for number in POISON]
        for item, number in zip(before.values(), POISON, strict=True):
            assert (item["sink"], item["stream"], item["status"]) == ("sales", "bookings", 400)
            assert "The value is refused" in str(item["error"])
            assert event(number).decode() in listed.output

        # Sent again without a cure they come back, as the letters that they were.
        again = await dead_letters(daemon, "replay", "--sink", "sales", "--all")
        assert (again.status, again.output) == (0, "sales: 3 replayed\n"), again
        await accounts(session, daemon, sink_lag_events=0, dead_lettered=6, dead_letters=3)
        after = letters(await dead_letters(daemon, "ls", "--json"))
        assert after.keys() == before.keys()
        assert arrived(emulator) == Counter(healthy)

        # After the cure they arrive.
        emulator.clear_faults()
        assert (await dead_letters(daemon, "replay", "--sink", "sales", "--all")).status == 0
        books = await accounts(session, daemon, sink_lag_events=0, dead_letters=0, delivered=ROWS)
        assert arrived(emulator) == Counter(range(ROWS))
        assert (books.outcome("replayed"), books.value("sink_routed_events_total")) == (6, ROWS)
        assert books.outcome("possible_duplicate") == 0
    assert len(scrapes) > 3
    assert await daemon.stop() == 0, daemon.text
    tell(f"{requests} requests for {ROWS} rows with 3 poison ones; {len(scrapes)} scrapes balanced")


async def test_what_is_back_in_line_when_the_daemon_dies_is_sent_by_the_next(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    config = configuration(tmp_path, emulator)
    emulator.fault("poison", match={"id": 1})
    daemon = await launch(config)
    assert (await post(session, daemon, event(1), "bookings")).status == 200
    await accounts(session, daemon, dead_letters=1)
    emulator.clear_faults()
    emulator.fault("hang")
    assert (await dead_letters(daemon, "replay", "--sink", "sales", "--all")).status == 0
    await emulator.until(lambda: emulator.requests.under_way == 1)
    await daemon.kill()
    await emulator.until(lambda: emulator.requests.under_way == 0)
    emulator.clear_faults()
    daemon = await launch(config)
    async with audited(session, daemon):
        books = await accounts(session, daemon, sink_lag_events=0, delivered=1, dead_letters=0)
    assert (books.outcome("dead_lettered"), books.outcome("replayed")) == (1, 1)
    assert arrived(emulator) == Counter([1])
    assert await daemon.stop() == 0, daemon.text


async def test_a_purge_changes_the_gauge_and_no_counter(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator.fault("poison", match={"id": 1})
    daemon = await launch(configuration(tmp_path, emulator))
    async with audited(session, daemon):
        assert (await post(session, daemon, event(1), "bookings")).status == 200
        before = await accounts(session, daemon, dead_letters=1)
        purged = await dead_letters(daemon, "purge", "--sink", "sales", "--all", "--yes")
        assert (purged.status, purged.output) == (0, "sales: 1 purged\n"), purged
        after = await accounts(session, daemon, dead_letters=0)
    for outcome in (*SETTLED, "replayed"):
        assert before.outcome(outcome) == after.outcome(outcome), outcome
    assert (await dead_letters(daemon, "ls")).output == "no dead letters\n"
    assert await daemon.stop() == 0, daemon.text
