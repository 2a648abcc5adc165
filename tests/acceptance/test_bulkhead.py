"""A sink that hangs for ever is alone with it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from daemon_process import Answer, Daemon, post, tell, until, write_config

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]

ROUNDS = 40


def configuration(directory: Path, emulator: Emulator, timeout: str) -> Path:
    quick = {"type": "powerbi", "batch": {"linger": "1ms"}, "limits": {"requests_per_minute": 9999}}
    hanging = {
        "push_url": emulator.push_url("hanging"),
        "timeout": timeout,
        "retry": {"base": "1ms", "cap": "5ms"},
        "breaker": {"failures": 9999},
    }
    sinks = {"hanging": quick | hanging, "healthy": quick | {"push_url": emulator.push_url("fine")}}
    return write_config(directory, shutdown_timeout="500ms", sinks=sinks)


def lag(answer: Answer, sink: str) -> int:
    events: int = answer.json()["sinks"][sink]["lag_events"]
    return events


async def test_a_sink_that_hangs_stops_no_other_and_gathers_no_descriptors(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator.fault("hang", dataset="hanging")
    # Each send to the one that hangs is given up soon, and tried again.
    daemon = await launch(configuration(tmp_path, emulator, timeout="20ms"))
    open_files = []
    for number in range(ROUNDS):
        posted = await post(session, daemon, json.dumps({"n": number}).encode())
        assert posted.status == 200
        await emulator.until(lambda: len(emulator.rows("fine")) > number)  # noqa: B023  used at once
        seen = emulator.requests.unanswered
        await emulator.until(lambda: emulator.requests.unanswered > seen)  # noqa: B023  likewise
        open_files.append(daemon.descriptors())

    assert emulator.rows("fine") == [b'{"n": %d}' % number for number in range(ROUNDS)]
    assert emulator.rows("hanging") == []
    # One that is about to be closed may be counted by chance; one a send would be dozens.
    assert max(open_files[ROUNDS // 2 :]) <= max(open_files[: ROUNDS // 2]) + 2
    answer = await until(session, f"{daemon.admin}/v1/status", lambda a: lag(a, "healthy") == 0)
    status = answer.json()["sinks"]
    assert status["healthy"]["state"] == "idle"
    assert (status["hanging"]["lag_events"], status["hanging"]["state"]) == (ROUNDS, "retrying")
    assert await daemon.stop() == 0, daemon.text
    tell(f"{ROUNDS} events delivered beside {seen} sends that hung; open files {open_files}")


async def test_a_send_that_hangs_does_not_keep_the_daemon_from_ending(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    emulator.fault("hang", dataset="hanging")
    config = configuration(tmp_path, emulator, timeout="1h")
    daemon = await launch(config)
    assert (await post(session, daemon, b'{"n": 1}')).status == 200
    await emulator.until(lambda: emulator.requests.under_way == 1 and emulator.rows("fine") != [])

    assert await daemon.stop() == 0, daemon.text
    assert [line["task"] for line in daemon.lines if line["action"] == "sink.cut_off"]

    # What was cut off comes with the next start, and nothing else does.
    emulator.clear_faults()
    daemon = await launch(config)
    await emulator.until(lambda: emulator.rows("hanging") != [])
    assert await daemon.stop() == 0, daemon.text
    assert emulator.rows("fine") == emulator.rows("hanging") == [b'{"n": 1}']
