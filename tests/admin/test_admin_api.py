"""The admin plane of a running daemon: what it tells, what it does, and for whom."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from daemon_process import Answer, Daemon, ask, post, until, write_config

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]

# The contract's; there may be more.
STATUS = {"version", "instance", "uptime", "buffer", "streams", "sinks"}
BUFFER = {
    "events",
    "bytes",
    "capacity_bytes",
    "oldest_age_seconds",
    "first_seq",
    "next_seq",
}
SINK = {
    "type",
    "streams",
    "state",
    "paused",
    "acked_seq",
    "lag_events",
    "lag_seconds",
    "breaker",
    "retry_at",
    "last_error",
    "delivered",
    "dead_lettered",
    "in_flight",
}
TOKEN = "a-token-of-the-admin-plane"


def sink(emulator: Emulator, dataset: str = "demo", **options: Any) -> dict[str, Any]:
    base = {"type": "powerbi", "push_url": emulator.push_url(dataset), "batch": {"linger": "1ms"}}
    return base | options


async def status_of(
    session: aiohttp.ClientSession, daemon: Daemon, met: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """The status of the sink `demo`, as soon as it is as wished."""
    answer = await until(
        session, f"{daemon.admin}/v1/status", lambda a: met(a.json()["sinks"]["demo"])
    )
    status: dict[str, Any] = answer.json()["sinks"]["demo"]
    return status


def failure(answer: Answer, status: int) -> str:
    assert answer.status == status, answer
    assert answer.headers["Content-Type"].startswith("application/json")
    body = answer.json()
    assert body["status"] == "failed"
    return str(body["error"])


async def test_health_and_status_have_the_keys_of_the_contract(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(write_config(tmp_path, sinks={"demo": sink(emulator)}))
    for probe in ("healthz", "readyz"):
        assert (await ask(session, "GET", f"{daemon.admin}/{probe}")).status == 200
    assert (await ask(session, "GET", f"{daemon.ingest}/healthz")).status == 200
    assert (await post(session, daemon, b'[{"n": 1}, {"n": 2}]', "bookings")).status == 200
    answer = await until(
        session, f"{daemon.admin}/v1/status", lambda a: a.json()["sinks"]["demo"]["delivered"] == 2
    )
    status = answer.json()

    assert status.keys() >= STATUS
    assert status["buffer"].keys() >= BUFFER
    assert (status["buffer"]["first_seq"], status["buffer"]["next_seq"]) == (3, 3)
    assert status["streams"] == {"bookings": {"events_total": 2}}
    assert status["sinks"].keys() == {"demo"}
    demo = status["sinks"]["demo"]
    assert demo.keys() >= SINK
    assert (demo["type"], demo["streams"], demo["state"]) == ("powerbi", ["*"], "idle")
    assert (demo["acked_seq"], demo["lag_events"], demo["lag_seconds"]) == (2, 0, 0)
    assert (demo["paused"], demo["breaker"], demo["retry_at"]) == (False, "closed", None)
    assert (demo["last_error"], demo["in_flight"], demo["dead_lettered"]) == (None, 0, 0)


async def test_a_paused_sink_gets_nothing_until_it_is_resumed(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    sinks = {"demo": sink(emulator), "other": sink(emulator, "other")}
    daemon = await launch(write_config(tmp_path, sinks=sinks))
    url = f"{daemon.admin}/v1/sinks/demo"
    paused = await ask(session, "POST", f"{url}/pause")
    assert paused.json() == {"status": "success", "sink": "demo", "state": "paused"}
    assert (await post(session, daemon, b'{"n": 1}')).status == 200
    await emulator.until(lambda: emulator.rows("other") != [])
    status = await status_of(session, daemon, lambda _: True)
    assert (status["state"], status["paused"], status["lag_events"]) == ("paused", True, 1)
    assert (await ask(session, "POST", f"{url}/probe")).json()["state"] == "paused"
    assert emulator.rows("demo") == []

    assert (await ask(session, "POST", f"{url}/resume")).status == 200
    await emulator.until(lambda: emulator.rows("demo") != [])
    status = await status_of(session, daemon, lambda s: s["lag_events"] == 0)
    assert (status["state"], status["paused"]) == ("idle", False)


async def test_a_probe_frees_a_held_sink_at_once(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator.fault("status", status=404, body={"error": {"message": "no such dataset"}})
    demo = sink(emulator, breaker={"open_for": "1h", "open_cap": "1h"})
    daemon = await launch(write_config(tmp_path, sinks={"demo": demo}))
    assert (await post(session, daemon, b'{"n": 1}')).status == 200
    await daemon.line("sink.held")
    status = await status_of(session, daemon, lambda s: s["state"] == "held")
    assert status["last_error"].keys() == {"at", "status", "message"}
    assert status["last_error"]["status"] == 404
    assert "no such dataset" in status["last_error"]["message"]
    assert status["retry_at"] is not None
    ready = await ask(session, "GET", f"{daemon.admin}/readyz")
    assert ready.status == 200, "an unreachable sink does not make it unready"

    emulator.clear_faults()
    assert (await ask(session, "POST", f"{daemon.admin}/v1/sinks/demo/probe")).status == 200
    await emulator.until(lambda: emulator.rows("demo") != [])
    await status_of(session, daemon, lambda s: s["state"] == "idle")


async def test_mistaken_requests_are_answered_in_json(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(write_config(tmp_path, sinks={"demo": sink(emulator)}))
    admin = daemon.admin
    unknown = await ask(session, "POST", f"{admin}/v1/sinks/sales/pause")
    assert "demo" in failure(unknown, 404)
    failure(await ask(session, "POST", f"{admin}/v1/sinks/demo/stop"), 404)
    failure(await ask(session, "GET", f"{admin}/v1/nothing"), 404)
    wrong = await ask(session, "GET", f"{admin}/v1/sinks/demo/pause")
    assert "POST" in failure(wrong, 405)
    assert wrong.headers["Allow"] == "POST"
    assert "GET" in failure(await ask(session, "POST", f"{admin}/metrics"), 405)
    # Each plane has its own listener.
    failure(await ask(session, "GET", f"{daemon.ingest}/metrics"), 404)
    failure(await ask(session, "GET", f"{daemon.ingest}/v1/status"), 404)
    failure(await ask(session, "POST", f"{admin}/v1/events/demo", data=b"{}"), 404)


async def test_only_this_machine_and_who_has_the_token_may_ask(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    admin = {
        "token": TOKEN,
        "allowed_hosts": ["metrics.example"],
        "allowed_origins": ["https://board.example"],
    }
    daemon = await launch(write_config(tmp_path, admin=admin, sinks={"demo": sink(emulator)}))
    port = urlsplit(daemon.admin).port
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    expected: list[tuple[dict[str, str], int]] = [
        (bearer, 200),
        ({"Authorization": f"bearer {TOKEN}"}, 200),
        ({}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        (bearer | {"Host": f"localhost:{port}"}, 200),
        (bearer | {"Host": f"[::1]:{port}"}, 200),
        (bearer | {"Host": "metrics.example:80"}, 200),
        (bearer | {"Host": f"evil.example:{port}"}, 403),
        (bearer | {"Host": "127.0.0.1.evil.example"}, 403),
        (bearer | {"Origin": "https://board.example"}, 200),
        (bearer | {"Origin": f"http://127.0.0.1:{port}"}, 200),
        (bearer | {"Origin": "https://evil.example"}, 403),
        (bearer | {"Origin": "null"}, 403),
    ]
    for path in ("/v1/status", "/metrics"):
        answers = await asyncio.gather(
            *(ask(session, "GET", daemon.admin + path, headers=headers) for headers, _ in expected)
        )
        got = [(headers, a.status) for (headers, _), a in zip(expected, answers, strict=True)]
        assert got == expected
        for answer in answers:
            if answer.status != 200:
                failure(answer, answer.status)
    for probe in ("healthz", "readyz"):
        assert (await ask(session, "GET", f"{daemon.admin}/{probe}")).status == 200
        evil = await ask(
            session, "GET", f"{daemon.admin}/{probe}", headers={"Host": "evil.example"}
        )
        failure(evil, 403)
    refused = await ask(session, "POST", f"{daemon.admin}/v1/sinks/demo/pause")
    assert "admin.token" in failure(refused, 401)
    assert refused.headers["WWW-Authenticate"] == "Bearer"


async def test_a_client_that_speaks_no_http_leaves_no_traceback(
    launch: Launch, tmp_path: Path
) -> None:
    daemon = await launch(write_config(tmp_path))
    host, port = daemon.admin[7:].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\nwhat\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert await daemon.stop() == 0
    assert "Traceback" not in daemon.text
