"""`/metrics` of a daemon that had its share of trouble."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import aiohttp
from books import Clients
from daemon_process import NDJSON, Daemon, ask, tell, until, write_config
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SETTLED = ("delivered", "dead_lettered", "dropped", "expired", "quarantined")
KILLS = 3

# The contract's list: what is counted, and the labels that it is counted by.
CONTRACT = {
    "forebay_ingest_requests_total": {"listener", "code"},
    "forebay_ingest_events_total": {"stream", "outcome"},
    "forebay_ingest_bytes_total": {"stream"},
    "forebay_ingest_ack_seconds_bucket": {"le"},
    "forebay_buffer_events": set(),
    "forebay_buffer_bytes": set(),
    "forebay_buffer_capacity_bytes": set(),
    "forebay_buffer_oldest_event_age_seconds": set(),
    "forebay_buffer_commit_seconds_bucket": {"le"},
    "forebay_buffer_commit_events_bucket": {"le"},
    "forebay_buffer_quarantined_segments_total": set(),
    "forebay_sink_routed_events_total": {"sink"},
    "forebay_sink_events_total": {"sink", "outcome"},
    "forebay_sink_batches_total": {"sink", "outcome"},
    "forebay_sink_send_seconds_bucket": {"sink", "le"},
    "forebay_sink_batch_events_bucket": {"sink", "le"},
    "forebay_sink_lag_events": {"sink"},
    "forebay_sink_lag_seconds": {"sink"},
    "forebay_sink_end_to_end_seconds_bucket": {"sink", "le"},
    "forebay_sink_breaker_state": {"sink", "state"},
    "forebay_sink_breaker_opened_total": {"sink"},
    "forebay_sink_throttled_seconds_total": {"sink"},
    "forebay_dead_letters": {"sink"},
    "forebay_build_info": {"version"},
}


def samples(families: Iterable[Metric]) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def of_sink(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted({"sink": "demo", **labels}.items()))]


def settled(found: Samples) -> float:
    return sum(of_sink(found, "forebay_sink_events_total", outcome=outcome) for outcome in SETTLED)


def unaccounted(found: Samples) -> float:
    """0, by the contract, at every moment."""
    routed = of_sink(found, "forebay_sink_routed_events_total")
    replayed = of_sink(found, "forebay_sink_events_total", outcome="replayed")
    return routed + replayed - settled(found) - of_sink(found, "forebay_sink_lag_events")


def configuration(directory: Path, emulator: Emulator) -> Path:
    sink = {
        "type": "powerbi",
        "push_url": emulator.push_url(),
        "batch": {"linger": "5ms"},
        "retry": {"base": "1ms", "cap": "10ms"},
        "breaker": {"failures": 2, "open_for": "5ms", "open_cap": "5ms"},
        "limits": {"requests_per_minute": 10**6},
    }
    return write_config(directory, sinks={"demo": sink})


async def test_every_metric_of_the_contract_is_there_after_trouble(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator.fault("status", status=429, retry_after=0.01, count=1)
    emulator.fault("status", status=503, count=3)
    emulator.fault("poison", match={"n": 3})
    daemon = await launch(configuration(tmp_path, emulator))
    lines = [*(json.dumps({"n": number}) for number in range(8)), "[]"]
    answer = await ask(
        session,
        "POST",
        f"{daemon.ingest}/v1/events/demo",
        data="\n".join(lines),
        headers=NDJSON,
    )
    assert answer.json()["status"] == "partial_success"
    found = await drained(session, daemon)
    labels = {name: {key for key, _ in pairs} for name, pairs in found}
    assert {name: labels.get(name) for name in CONTRACT} == CONTRACT
    assert [name for name in labels if not name.startswith(("forebay_", "process_"))] == []

    url, headers = f"{daemon.admin}/metrics", {"Accept": OPENMETRICS}
    modern = await ask(session, "GET", url, headers=headers)
    assert modern.headers["Content-Type"].startswith("application/openmetrics-text")
    families = openmetrics.text_string_to_metric_families(modern.body.decode())
    assert samples(families).keys() >= {key for key in found if key[0] in CONTRACT}

    for outcome, count in {"delivered": 7, "dead_lettered": 1, "possible_duplicate": 24}.items():
        assert of_sink(found, "forebay_sink_events_total", outcome=outcome) == count
    assert of_sink(found, "forebay_sink_breaker_state", state="closed") == 1
    assert of_sink(found, "forebay_sink_breaker_opened_total") >= 1
    assert of_sink(found, "forebay_sink_throttled_seconds_total") > 0
    assert of_sink(found, "forebay_dead_letters") == 1
    assert found["forebay_ingest_events_total", (("outcome", "rejected"), ("stream", "demo"))] == 1
    assert found["forebay_ingest_requests_total", (("code", "200"), ("listener", "tcp"))] == 1


async def drained(session: aiohttp.ClientSession, daemon: Daemon) -> Samples:
    """The metrics, once nothing is left to deliver."""
    none = b'forebay_sink_lag_events{sink="demo"} 0.0'
    answer = await until(session, f"{daemon.admin}/metrics", lambda a: none in a.body)
    assert answer.headers["Content-Type"].startswith("text/plain")
    return samples(text_string_to_metric_families(answer.body.decode()))


async def scrape(session: aiohttp.ClientSession, daemon: Daemon, into: list[Samples]) -> None:
    """Again and again, until the daemon is no more."""
    while True:
        try:
            answer = await ask(session, "GET", f"{daemon.admin}/metrics")
        except (aiohttp.ClientError, OSError):
            return
        into.append(samples(text_string_to_metric_families(answer.body.decode())))


async def test_every_event_is_accounted_for_in_every_scrape_also_over_kills(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    config = configuration(tmp_path, emulator)
    for number in range(0, 300, 30):
        emulator.fault("poison", match={"id": f"0-{number}"})
    clients = Clients(session, 4, seed=5)
    found: list[Samples] = []
    last: Samples = {}
    for generation in range(KILLS + 1):
        emulator.fault("status", status=500, count=2)
        emulator.fault("drop_answer", count=2)
        daemon = await launch(config)
        scraping = asyncio.create_task(scrape(session, daemon, found))
        clients.up(daemon)
        await clients.acknowledgements(300)
        if generation == KILLS:
            await clients.leave()
            last = await drained(session, daemon)
            assert await daemon.stop() == 0
        await daemon.kill()
        clients.down()
        await scraping
    found.append(last)

    assert [unaccounted(scraped) for scraped in found] == [0] * len(found)
    # The counts are kept in the file: they never step back, nor start again.
    for name in ("forebay_sink_routed_events_total", "settled"):
        counts = [
            settled(scraped) if name == "settled" else of_sink(scraped, name) for scraped in found
        ]
        assert counts == sorted(counts), name
    assert settled(last) == of_sink(last, "forebay_sink_routed_events_total")
    assert settled(last) >= len(clients.books.acknowledged)
    assert of_sink(last, "forebay_sink_events_total", outcome="dead_lettered") > 0
    assert last["forebay_buffer_events", ()] == 0
    tell(f"{len(found)} scrapes over {KILLS} kills, {settled(last):.0f} events: all accounted for")
