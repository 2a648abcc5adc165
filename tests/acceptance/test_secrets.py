"""No secret appears anywhere, whatever goes wrong at the other side."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import aiohttp
from daemon_process import JSON, Daemon, ask, command, tell, until, write_config
from patience import PatientEmulator

from forebay.sinks.powerbi.emulator import Emulator

Launch = Callable[..., Awaitable[Daemon]]

# Of the letters that get different spellings in a URL, in JSON and in base64.
PUSH_KEY = 'q1/W+e3"R5t\\Y7u~I9o=P0a'
CLIENT_SECRET = "8Q~kZ+s/D4f%G6h'J8k#L0"
HTTP_KEY = "sig+Z/x1c3V5b7N9m=="
HTTP_HEADER = "Hh2J4k6L8-header+token/="
INGEST_TOKEN = "ingest+Tt1/Yy2=Uu3"
ADMIN_TOKEN = "admin+Aa4/Ss5=Dd6"
SECRETS = (PUSH_KEY, CLIENT_SECRET, HTTP_KEY, HTTP_HEADER, INGEST_TOKEN, ADMIN_TOKEN)
SINKS = {
    "push": (PUSH_KEY,),
    "rows": (CLIENT_SECRET,),
    "web": (PUSH_KEY, HTTP_KEY, HTTP_HEADER),
}
"""With what each sink tells the other side."""
STATUSES = (401, 403, 404, 429, 500)


def spellings(secret: str) -> set[str]:
    """Every way in which somebody could write it by mistake, in small letters."""
    raw = secret.encode()
    forms = {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        raw.hex(),
    }
    return {form.lower() for form in forms}


def leaks(texts: Mapping[str, str], secrets: tuple[str, ...]) -> set[tuple[str, str]]:
    """Where which secret is shown."""
    return {
        (name, secret)
        for name, text in texts.items()
        for secret in secrets
        for form in spellings(secret)
        if form in text.lower()
    }


def configuration(directory: Path, emulator: Emulator) -> Path:
    """Two of the secrets are not in the file, but where secrets should be."""
    quick = {
        "timeout": "300ms",
        "batch": {"linger": "1ms", "max_events": 1},
        "retry": {"base": "1ms"},
        "breaker": {"open_for": "20ms", "open_cap": "20ms"},
        "limits": {"requests_per_minute": 10**6},
    }
    (directory / "credentials").mkdir()
    credential = directory / "credentials" / "sinks__rows__auth__client_secret"
    credential.write_text(CLIENT_SECRET, encoding="utf-8")
    auth = {"tenant_id": "tenant", "client_id": "app"}
    urls = {"api_url": emulator.url, "authority_url": emulator.url}
    rows = {"dataset_id": "rows", "table": "Bookings", "auth": auth, **urls}
    url = f"{emulator.url}/beta/any/datasets/web/rows?key={quote(PUSH_KEY)}&sig={quote(HTTP_KEY)}"
    web = {"url": url, "headers": {"Authorization": f"Bearer {HTTP_HEADER}"}}
    return write_config(
        directory,
        ingest={"token": INGEST_TOKEN},
        admin={"token": ADMIN_TOKEN},
        log={"level": "debug"},
        sinks={
            "push": {"type": "powerbi", **quick},
            "rows": {"type": "powerbi", **quick, **rows},
            "web": {"type": "http", **{k: v for k, v in quick.items() if k != "limits"}, **web},
        },
    )


def plan_faults(emulator: Emulator) -> None:
    """For each sink every failure in turn, from a server that tells all that it was told."""
    for sink in SINKS:
        for status in STATUSES:
            # With a token that is refused, the sink tries a new one before it gives up.
            times = 2 if (sink, status) == ("rows", 401) else 1
            after = {"retry_after": 0.01} if status == 429 else {}
            fault = {"status": status, "body": telling(sink), "count": times, **after}
            emulator.fault("status", dataset=sink, **fault)
        for kind in ("hang", "drop_answer", "reset"):
            emulator.fault(kind, dataset=sink, count=1)
    for status in (400, 401, 500):
        fault = {"status": status, "body": telling("rows"), "count": 1}
        emulator.fault("status", endpoint="token", **fault)


def telling(sink: str) -> dict[str, Any]:
    """An error body with the sink's secrets in it."""
    secrets = SINKS[sink]
    told = " ".join([*secrets, *map(quote, secrets), *map(quote_plus, secrets)])
    return {"error": {"code": "Told", "message": f"https://all.example/?key={told}"}}


class Watch:
    """Collects all that the daemon shows of itself."""

    def __init__(self, session: aiohttp.ClientSession, daemon: Daemon) -> None:
        self._session, self._daemon = session, daemon
        self._headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        self.texts: dict[str, str] = {}

    async def look(self, path: str, **options: Any) -> None:
        answer = await ask(self._session, "GET", self._daemon.admin + path, **options)
        shown = f"{dict(answer.headers)} {answer.body.decode()}"
        self.texts[path] = self.texts.get(path, "") + shown

    @asynccontextmanager
    async def watching(self):
        async def look_on() -> None:
            while True:
                for path in ("/v1/status", "/metrics"):
                    await self.look(path, headers=self._headers)

        looking = asyncio.create_task(look_on())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


async def test_secrets_appear_nowhere_whatever_fails(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    secrets = {"push_key": PUSH_KEY, "client_secret": CLIENT_SECRET}
    async with PatientEmulator(**secrets) as emulator:
        config = configuration(tmp_path, emulator)
        variables = {
            "FOREBAY_SINKS__PUSH__PUSH_URL": emulator.push_url("push"),
            "CREDENTIALS_DIRECTORY": str(tmp_path / "credentials"),
        }
        plan_faults(emulator)
        daemon = await launch(config, variables=variables)
        watch = Watch(session, daemon)
        async with watch.watching():
            await fail_in_every_way(session, daemon, emulator)
        await collect(watch, session, daemon, config, variables)
        tokens = tuple(emulator._world.tokens._issued)
        assert await daemon.stop() == 0
    watch.texts["log"] = daemon.text

    assert len(tokens) >= 2
    for sink in SINKS:
        for status in (400, *STATUSES):
            assert any(
                line.get("sink") == sink and line.get("status") == status for line in daemon.lines
            ), f"{sink} never met {status}"
    assert "***" in watch.texts["log"], "nothing was told that had to be masked"
    assert leaks(watch.texts, (*SECRETS, *tokens)) == set()
    size = sum(map(len, watch.texts.values()))
    tell(f"{len(SECRETS) + len(tokens)} secrets in {len(watch.texts)} outputs ({size} bytes): none")


async def fail_in_every_way(
    session: aiohttp.ClientSession, daemon: Daemon, emulator: Emulator
) -> None:
    headers = JSON | {"Authorization": f"Bearer {INGEST_TOKEN}"}

    async def say(event: dict[str, str]) -> None:
        url = f"{daemon.ingest}/v1/events/any"
        answer = await ask(session, "POST", url, json=event, headers=headers)
        assert answer.status == 200, answer.body

    # Time-outs, broken connections and the statuses that leave the event where it is.
    await say({"id": "first"})
    await emulator.until(lambda: all(emulator.rows(*table) for table in TABLES))
    # What is never taken, and goes to the dead letters.
    for sink in SINKS:
        emulator.fault("status", status=400, body=telling(sink), dataset=sink, count=1)
    await say({"id": "bad"})
    for sink in SINKS:
        await daemon.line("sink.dead_lettered", sink=sink)
    # Nobody there.
    port = urlsplit(emulator.url).port
    assert port is not None
    await emulator.close()
    await say({"id": "second"})
    for sink in SINKS:
        await daemon.find(
            lambda line: line.get("sink") == sink and "no connection" in str(line.get("reason"))  # noqa: B023
        )
    await emulator.start(port=port)
    await emulator.until(
        lambda: all(any(b"second" in row for row in emulator.rows(*table)) for table in TABLES)
    )


TABLES = (("push",), ("rows", "Bookings"), ("web",))


async def collect(
    watch: Watch,
    session: aiohttp.ClientSession,
    daemon: Daemon,
    config: Path,
    variables: dict[str, str],
) -> None:
    """Everything else that somebody may look at."""
    texts = watch.texts
    for number, (path, headers) in enumerate(
        [
            ("/v1/status", {"Authorization": f"Bearer {INGEST_TOKEN}"}),
            ("/v1/nothing", {"Authorization": f"Bearer {ADMIN_TOKEN}"}),
            (f"/v1/{quote(ADMIN_TOKEN)}", {}),
        ]
    ):
        await watch.look(path if number < 2 else "/v1/other", headers=headers)
    for name, token, body in (
        ("401", ADMIN_TOKEN, b"{}"),
        ("400", INGEST_TOKEN, b"{"),
        ("422", INGEST_TOKEN, b'["%s"]' % INGEST_TOKEN.encode()),
    ):
        url, headers = f"{daemon.ingest}/v1/events/any", JSON | {"Authorization": f"Bearer {token}"}
        answer = await ask(session, "POST", url, data=body, headers=headers)
        assert answer.status == int(name)
        texts[f"ingest {name}"] = answer.body.decode()
    variables = variables | {"FOREBAY_ADMIN__LISTEN": urlsplit(daemon.admin).netloc}
    names = ("config", "check", "status", "status --json", "sinks")
    running = [command("-c", str(config), *name.split(), **variables) for name in names]
    for name, finished in zip(names, await asyncio.gather(*running), strict=True):
        assert finished.status == 0, finished.errors
        texts[f"forebay {name}"] = finished.output + finished.errors
    texts["command line"] = daemon.command_line()
    for file in config.parent.glob("buffer.db*"):
        texts[file.name] = file.read_bytes().decode("latin-1")


async def test_a_sink_that_echoes_secrets_of_others_does_not_get_them_shown(
    launch: Launch, emulator: Emulator, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The token of a listener and another sink's key: masked in status and dead letters too."""
    others = ("token-of-the-listener-4711", "key-of-the-other-sink-0815")
    emulator.fault("status", status=400, body=f"bad row, {others[0]}, {others[1]}")
    one = {"type": "powerbi", "push_url": emulator.push_url(), "batch": {"linger": "1ms"}}
    other = {"push_url": f"{emulator.url}/beta/t/datasets/x/rows?key={others[1]}"}
    sinks = {"one": one, "other": one | other | {"streams": ["nothing"]}}
    daemon = await launch(write_config(tmp_path, ingest={"token": others[0]}, sinks=sinks))
    headers = {"Authorization": f"Bearer {others[0]}"}
    posted = await ask(
        session, "POST", f"{daemon.ingest}/v1/events/s", json={"n": 1}, headers=headers
    )
    assert posted.status == 200
    status = await until(
        session,
        f"{daemon.admin}/v1/status",
        lambda answer: answer.json()["sinks"]["one"]["dead_letters"] == 1,
    )
    letters = await ask(session, "GET", f"{daemon.admin}/v1/dead-letters")
    assert await daemon.stop() == 0
    shown = status.body + letters.body + daemon.text.encode()
    assert b"bad row" in status.body
    assert b"bad row" in letters.body
    assert [secret for secret in others if secret.encode() in shown] == []
    stored = (tmp_path / "buffer.db").read_bytes()
    assert [secret for secret in others if secret.encode() in stored] == []
