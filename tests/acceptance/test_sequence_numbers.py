"""`sequence = "verify"` in the whole program: killed in the middle of a POST, nothing repeats."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from daemon_process import Daemon, post, write_config
from patience import PatientEmulator

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]


def configuration(directory: Path, emulator: Emulator) -> Path:
    sink = {
        "type": "powerbi",
        "dataset_id": "d",
        "table": "t",
        "auth": {"tenant_id": "contoso.com", "client_id": "c-1", "client_secret": "s3cret"},
        "api_url": emulator.url,
        "authority_url": emulator.url,
        "sequence": "verify",
        "batch": {"linger": "5ms"},
        "retry": {"base": "5ms", "cap": "50ms"},
    }
    return write_config(directory, sinks={"sales": sink})


async def test_a_kill_before_the_answer_came_stores_no_row_twice(
    tmp_path: Path, launch: Launch, session: aiohttp.ClientSession
):
    async with PatientEmulator(sequence="ignore") as emulator:
        config = configuration(tmp_path, emulator)
        daemon = await launch(config)
        await post(session, daemon, b'[{"n": 1}]')
        await emulator.until(lambda: emulator.requests.rows_stored == 1)
        emulator.fault("slow", seconds=3600, count=1)
        await post(session, daemon, b'[{"n": 2}, {"n": 3}]')
        await emulator.until(lambda: emulator.requests.rows_stored == 3)
        await daemon.kill()
        daemon = await launch(config)
        await post(session, daemon, b'[{"n": 4}]')
        await emulator.until(lambda: emulator.requests.rows_stored == 4)
        assert [json.loads(row)["n"] for row in emulator.rows("d", "t")] == [1, 2, 3, 4]
