"""The other commands, beside a daemon that runs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from daemon_process import Daemon, Finished, command, post, until, write_config

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]


def one_line(finished: Finished, status: int) -> str:
    """What a command says that cannot do its work: one line, and never a traceback."""
    assert finished.status == status, finished
    assert finished.output == ""
    assert "Traceback" not in finished.errors
    lines = finished.errors.splitlines()
    assert len(lines) == 1, finished.errors
    return lines[0]


async def test_status_and_send_work_against_a_running_daemon(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    sink = {"type": "powerbi", "push_url": emulator.push_url(), "batch": {"linger": "1ms"}}
    config = write_config(tmp_path, sinks={"demo": sink})
    daemon = await launch(config)
    # Its ports are known only now; the configuration says 0.
    at = {
        "FOREBAY_CONFIG": str(config),
        "FOREBAY_ADMIN__LISTEN": urlsplit(daemon.admin).netloc,
        "FOREBAY_INGEST__LISTEN": urlsplit(daemon.ingest).netloc,
    }
    lines = b"".join(b'{"n": %d}\n' % number for number in range(2500))
    (tmp_path / "events.ndjson").write_bytes(lines)

    sent = await command("send", "demo", str(tmp_path / "events.ndjson"), "--json", **at)
    assert sent.status == 0, sent.errors
    assert json.loads(sent.output)["accepted"] == 2500
    socket = str(tmp_path / "ingest.sock")
    sent = await command("send", "demo", "--socket", socket, stdin=b'{"n": 2500}\n[]\n', **at)
    assert sent.status == 1, "a line was rejected"
    assert "accepted 1" in sent.output
    assert "line 2" in sent.errors
    await emulator.until(lambda: len(emulator.rows("demo")) >= 2501)
    assert emulator.rows("demo") == [b'{"n": %d}' % number for number in range(2501)]

    await until(
        session,
        f"{daemon.admin}/v1/status",
        lambda answer: answer.json()["sinks"]["demo"]["lag_events"] == 0,
    )
    shown = await command("status", **at)
    assert shown.status == 0, shown.errors
    assert "demo" in shown.output
    assert "2501" in shown.output
    status = json.loads((await command("-c", str(config), "status", "--json", **at)).output)
    assert status["sinks"]["demo"]["delivered"] == 2501

    verbs = await asyncio.gather(*(command(v, "demo", **at) for v in ("pause", "resume", "probe")))
    assert [finished.status for finished in verbs] == [0, 0, 0]
    assert "demo" in one_line(await command("pause", "sales", **at), 1)

    assert await daemon.stop() == 0
    assert at["FOREBAY_ADMIN__LISTEN"] in one_line(await command("status", **at), 1)


async def test_check_and_config_say_what_would_run(tmp_path: Path) -> None:
    sink = {"type": "powerbi", "push_url": "http://127.0.0.1:9/rows?key=very-secret-key"}
    config = str(write_config(tmp_path, sinks={"demo": sink}))

    checked = await command("check", "-c", config)
    assert (checked.status, checked.errors) == (0, "")
    assert "fine, 1 sink" in checked.output
    shown = await command("config", "-c", config, FOREBAY_SHUTDOWN_TIMEOUT="3s")
    assert shown.status == 0, shown.errors
    assert 'push_url = "***"' in shown.output
    assert "very-secret-key" not in shown.output
    assert 'shutdown_timeout = "3s"' in shown.output
    assert "FOREBAY_SHUTDOWN_TIMEOUT" in shown.output


async def test_wrong_usage_is_one_status_and_wrong_settings_another(tmp_path: Path) -> None:
    sink = {"type": "file", "path": str(tmp_path / "out"), "rotate_byte": "1MiB"}
    config = write_config(tmp_path, sinks={"demo": sink})
    names = ("check", "config", "run", "status")
    for finished in await asyncio.gather(*(command(name, "-c", str(config)) for name in names)):
        said = one_line(finished, 1)
        assert "sinks.demo.rotate_byte:" in said
        assert "sinks.demo.rotate_bytes?" in said, "the nearest known key"
    missing = tmp_path / "nothing.toml"
    assert str(missing) in one_line(await command("check", "-c", str(missing)), 1)
    wrong = await command("chekc")
    assert wrong.status == 2
    assert "Traceback" not in wrong.errors
    unknown = await command("run", "--fast")
    assert unknown.status == 2
    assert "Traceback" not in unknown.errors


async def test_a_second_daemon_on_the_same_buffer_is_refused(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    sink = {"type": "file", "path": str(tmp_path / "out")}
    config = write_config(tmp_path, sinks={"demo": sink})
    first = await launch(config)

    second = await command("run", "-c", str(config))
    assert second.status == 1
    assert "Traceback" not in second.errors
    [said] = [json.loads(line) for line in second.errors.splitlines() if "error" in line]
    assert said["action"] == "daemon.failed"
    assert str(first.pid) in said["reason"]
    # The first has lost nothing by it, not even its socket.
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(path=str(tmp_path / "ingest.sock"))
    ) as by_socket:
        assert (await post(by_socket, first, b"{}")).status == 200
    assert (await post(session, first, b"{}")).status == 200
