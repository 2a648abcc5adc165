"""A changed configuration is taken over while events flow, or refused whole."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from books import Clients
from daemon_process import Answer, Daemon, ask, command, until, write_config

Launch = Callable[..., Awaitable[Daemon]]

QUICK = {"batch": {"linger": "5ms"}}


def files(directory: Path, *names: str, **changes: Any) -> dict[str, Any]:
    return {
        name: QUICK | {"type": "file", "path": f"{directory}/{name}.ndjson"} | changes
        for name in names
    }


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


async def reloaded(daemon: Daemon) -> dict[str, Any]:
    seen = len(daemon.lines)
    daemon.signal(signal.SIGHUP)
    return await daemon.line("config.reloaded", after=seen)


def drained(answer: Answer) -> bool:
    return all(sink["lag_events"] == 0 for sink in answer.json()["sinks"].values())


async def test_sinks_come_change_and_go_under_load_with_nothing_lost_or_repeated(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    daemon = await launch(write_config(tmp_path, sinks=files(out, "stays", "changes", "goes")))
    clients = Clients(session, 4, seed=8)
    clients.up(daemon)
    await clients.acknowledgements(100)

    write_config(tmp_path, sinks=files(out, "stays", "changes", "goes", "comes"))
    assert (await reloaded(daemon))["added"] == ["comes"]
    await clients.acknowledgements(100)

    changed = files(out, "changes", batch={"linger": "1ms"})
    write_config(tmp_path, sinks=files(out, "stays", "goes", "comes") | changed)
    assert (await reloaded(daemon))["changed"] == ["changes"]
    await clients.acknowledgements(100)

    write_config(tmp_path, sinks=files(out, "stays", "comes") | changed)
    assert (await reloaded(daemon))["removed"] == ["goes"]
    await clients.acknowledgements(100)
    await clients.leave()

    await until(session, f"{daemon.admin}/v1/status", drained)
    posted = set(clients.books.acknowledged.values())
    for name in ("stays", "changes", "comes"):
        counts = Counter(ids(out / f"{name}.ndjson"))
        assert max(counts.values()) == 1, name
        assert posted <= set(counts) or name == "comes", name
    assert max(Counter(ids(out / "goes.ndjson")).values()) == 1
    assert await daemon.stop() == 0


async def test_a_file_with_a_mistake_is_refused_whole(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    config = write_config(tmp_path, sinks=files(tmp_path, "one"))
    daemon = await launch(config)
    good = config.read_text(encoding="utf-8")
    config.write_text(good.replace('"file"', '"flie"'), encoding="utf-8")
    daemon.signal(signal.SIGHUP)
    line = await daemon.line("config.refused")
    assert 'did you mean "file"' in line["mistakes"][0]
    refused = await ask(session, "POST", f"{daemon.admin}/v1/reload")
    assert (refused.status, refused.json()["status"]) == (400, "failed")
    assert 'did you mean "file"' in refused.json()["error"]
    status = await ask(session, "GET", f"{daemon.admin}/v1/status")
    assert list(status.json()["sinks"]) == ["one"]


async def test_what_ingest_takes_and_from_whom_changes_on_open_connections_too(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    sinks = files(tmp_path, "one")
    daemon = await launch(write_config(tmp_path, sinks=sinks))
    url, event = f"{daemon.ingest}/v1/events/s", {"id": "x" * 100}
    assert (await ask(session, "POST", url, json=event)).status == 200
    write_config(tmp_path, sinks=sinks, ingest={"max_event": "64", "token": "sesame"})
    assert (await reloaded(daemon))["needs_restart"] == []
    assert (await ask(session, "POST", url, json=event)).status == 401
    token = {"Authorization": "Bearer sesame"}
    assert (await ask(session, "POST", url, json=event, headers=token)).status == 422
    assert (await ask(session, "POST", url, json={"id": "y"}, headers=token)).status == 200


async def test_what_needs_a_restart_is_named(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    daemon = await launch(write_config(tmp_path, sinks=files(tmp_path, "one")))
    write_config(tmp_path, sinks=files(tmp_path, "one"), buffer={"max_bytes": "3MiB"})
    answer = await ask(session, "POST", f"{daemon.admin}/v1/reload")
    assert answer.json() == {
        "status": "success",
        "added": [],
        "changed": [],
        "removed": [],
        "needs_restart": ["buffer.max_bytes"],
    }


async def test_the_command_says_what_it_did_and_a_paused_sink_stays_paused(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    config = write_config(tmp_path, sinks=files(tmp_path, "one"))
    daemon = await launch(config)
    paused = await ask(session, "POST", f"{daemon.admin}/v1/sinks/one/pause")
    assert paused.json()["state"] == "paused"
    planes = {"ingest": {"listen": daemon.ingest[7:]}, "admin": {"listen": daemon.admin[7:]}}
    sinks = files(tmp_path, "one", batch={"linger": "7ms"}) | files(tmp_path, "two")
    write_config(tmp_path, sinks=sinks, **planes)
    finished = await command("reload", "-c", str(config))
    assert (finished.status, finished.errors) == (0, "")
    assert finished.output.splitlines() == [
        "two: added",
        "one: changed",
        "ingest.listen: differs, and needs a restart",
        "admin.listen: differs, and needs a restart",
    ]
    status = (await ask(session, "GET", f"{daemon.admin}/v1/status")).json()["sinks"]
    assert (status["one"]["paused"], status["two"]["paused"]) == (True, False)


async def test_a_sink_that_left_keeps_its_events_until_it_is_back_or_forgotten(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    # A directory where its file should be: it is held, and its events wait.
    (tmp_path / "late.ndjson").mkdir()
    config = write_config(tmp_path, sinks=files(tmp_path, "one", "late"))
    daemon = await launch(config)
    url = f"{daemon.ingest}/v1/events/s"
    assert (await ask(session, "POST", url, json={"id": "1"})).status == 200
    write_config(
        tmp_path,
        sinks=files(tmp_path, "one"),
        ingest={"listen": daemon.ingest[7:]},
        admin={"listen": daemon.admin[7:]},
    )
    assert (await reloaded(daemon))["removed"] == ["late"]
    assert (await ask(session, "POST", url, json={"id": "2"})).status == 200

    status = (await ask(session, "GET", f"{daemon.admin}/v1/status")).json()
    assert status["abandoned"]["late"]["lag_events"] == 1
    assert status["buffer"]["first_seq"] == 1

    finished = await command("sinks", "forget", "one", "-c", str(config))
    assert (finished.status, "configured" in finished.errors) == (1, True)
    finished = await command("sinks", "forget", "late", "-c", str(config))
    assert (finished.status, finished.output) == (
        0,
        "late: forgotten, with 1 events that waited for it and 0 dead letters\n",
    )
    status = (await ask(session, "GET", f"{daemon.admin}/v1/status")).json()
    assert status["abandoned"] == {}
    await until(session, f"{daemon.admin}/v1/status", lambda a: a.json()["buffer"]["events"] == 0)


async def test_a_sink_that_came_back_goes_on_where_it_was(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    blocked = tmp_path / "late.ndjson"
    blocked.mkdir()
    daemon = await launch(write_config(tmp_path, sinks=files(tmp_path, "late")))
    url = f"{daemon.ingest}/v1/events/s"
    for number in ("1", "2"):
        assert (await ask(session, "POST", url, json={"id": number})).status == 200
    write_config(tmp_path)
    await reloaded(daemon)
    assert (await ask(session, "POST", url, json={"id": "3"})).status == 404
    blocked.rmdir()
    write_config(tmp_path, sinks=files(tmp_path, "late"))
    assert (await reloaded(daemon))["added"] == ["late"]
    assert (await ask(session, "POST", url, json={"id": "4"})).status == 200
    await until(session, f"{daemon.admin}/v1/status", drained)
    assert ids(blocked) == ["1", "2", "4"]
    assert await asyncio.wait_for(daemon.stop(), 30) == 0
