"""Commands that speak to a running daemon, against a small server in its place."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cli_kit import environment, forebay

TOKEN = "hush-hush-hush"
STATUS = {
    "version": "9.9.9",
    "instance": "abc",
    "uptime": 3725.4,
    "buffer": {
        "events": 12,
        "bytes": 1536,
        "capacity_bytes": 2147483648,
        "oldest_age_seconds": 61.2,
        "first_seq": 1,
        "next_seq": 13,
    },
    "streams": {"bookings": {"events_total": 12}},
    "sinks": {
        "sales": {
            "type": "powerbi",
            "streams": ["bookings"],
            "state": "held",
            "paused": False,
            "acked_seq": 0,
            "lag_events": 12,
            "lag_seconds": 61.2,
            "breaker": "closed",
            "retry_at": None,
            "last_error": {"at": "2026-11-22T00:00:00Z", "status": 404, "message": "[red]gone\x1b"},
            "delivered": 5,
            "dead_lettered": 8,
            "dead_letters": 3,
            "in_flight": 0,
        }
    },
}


class Daemon:
    """Answers as the daemon does, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.second_post = asyncio.Event()
        self.events: list[bytes] = []
        self.keys: list[str] = []
        self.controls: list[str] = []
        self.answers: list[tuple[int, dict[str, Any], dict[str, str]]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/v1/status", self.status),
                web.post("/v1/sinks/{sink}/{verb}", self.control),
                web.post("/v1/events/{stream}", self.ingest),
            ]
        )
        return app

    def refusal(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            return None
        return web.json_response({"status": "failed", "error": "send the token"}, status=401)

    async def status(self, request: web.Request) -> web.Response:
        return self.refusal(request) or web.json_response(STATUS)

    async def control(self, request: web.Request) -> web.Response:
        if request.match_info["sink"] != "sales":
            body = {"status": "failed", "error": "there is no sink of that name"}
            return web.json_response(body, status=404)
        self.controls.append(request.match_info["verb"])
        return web.json_response({"status": "success", "sink": "sales", "state": "paused"})

    async def ingest(self, request: web.Request) -> web.Response:
        if refusal := self.refusal(request):
            return refusal
        if self.answers:
            status, body, headers = self.answers.pop(0)
            return web.json_response(body, status=status, headers=headers)
        self.keys.append(request.headers["Idempotency-Key"])
        if len(self.keys) > 1:
            self.second_post.set()
        lines = (await request.read()).split(b"\n")
        good = [line for line in lines if line.startswith(b"{")]
        self.events += good
        errors = [
            {"line": number, "error": "not a JSON object"}
            for number, line in enumerate(lines, 1)
            if line and line not in good
        ]
        body = {
            "status": "partial_success" if errors else "success",
            "accepted": len(good),
            "duplicates": 0,
            "rejected": len(errors),
            "errors": errors,
        }
        return web.json_response(body)


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
async def file(daemon: Daemon, tmp_path: Path) -> AsyncIterator[Path]:
    """Settings that lead to the daemon, over TCP and a socket."""
    runner = web.AppRunner(daemon.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    port = next(a[1] for a in runner.addresses if isinstance(a, tuple))
    daemon.url = f"http://127.0.0.1:{port}"
    path = tmp_path / "forebay.toml"
    path.write_text(
        f'[admin]\nlisten = "127.0.0.1:{port}"\ntoken = "{TOKEN}"\n'
        f'[ingest]\nlisten = "localhost:{port}"\ntoken = "{TOKEN}"\n'
    )
    yield path
    await runner.cleanup()


async def test_status_json_is_the_answer_itself(file: Path):
    done = await forebay("status", "--json", "-c", file)
    assert (done.status, json.loads(done.out), done.err) == (0, STATUS, "")


async def test_status_is_a_table_in_which_nothing_is_interpreted(file: Path):
    done = await forebay("status", "-c", file, env={"COLUMNS": "200"})
    assert done.status == 0
    assert "up 1h2m5s" in done.out
    assert "12 events, 1.5 KiB of 2.0 GiB, oldest 1m1s" in done.out
    row = next(line for line in done.out.splitlines() if line.startswith("sales"))
    assert row.split()[-2:] == ["3", "[red]gone"], "the dead letters that there are, not all ever"
    assert "\x1b" not in done.out


async def test_status_of_a_daemon_that_is_not_there_is_one_line():
    done = await forebay("status", env={"FOREBAY_ADMIN__LISTEN": "127.0.0.1:1"})
    assert done.status == 1
    assert done.err == (
        "forebay: no answer from 127.0.0.1:1 (admin.listen): Connection refused; "
        "is `forebay run` running with the same settings?\n"
    )


async def test_status_with_a_wrong_token_shows_the_daemons_words(file: Path):
    done = await forebay("status", "-c", file, env={"FOREBAY_ADMIN__TOKEN": "wrong-token"})
    assert done.status == 1
    assert "send the token" in done.err
    assert "wrong-token" not in done.err


async def test_status_with_the_admin_plane_off_says_so():
    done = await forebay("status", env={"FOREBAY_ADMIN__LISTEN": ""})
    assert done == (1, "", 'forebay: the admin plane is off: admin.listen is ""\n')


async def test_something_else_on_the_port_is_one_line():
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"220 mail.example.com ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(stranger, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await forebay("status", env={"FOREBAY_ADMIN__LISTEN": f"127.0.0.1:{port}"})
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("verb", "said"), [("pause", "paused"), ("resume", "resumed"), ("probe", "probing")]
)
async def test_a_sink_is_controlled(file: Path, daemon: Daemon, verb: str, said: str):
    done = await forebay(verb, "sales", "-c", file)
    assert done == (0, f"sales: {said}\n", "")
    assert daemon.controls == [verb]


async def test_control_of_an_unknown_sink_shows_the_daemons_words(file: Path):
    done = await forebay("pause", "a/b", "-c", file)
    assert done.status == 1
    assert "there is no sink of that name" in done.err


Arguments = Callable[[Path], list[str]]


@pytest.mark.parametrize(
    "way",
    [
        lambda file: ["-c", str(file)],
        lambda file: ["--socket", str(file.with_name("s")), "--token", TOKEN],
    ],
    ids=["settings", "socket"],
)
async def test_all_lines_of_a_file_arrive_in_order(
    file: Path, daemon: Daemon, tmp_path: Path, way: Arguments
):
    lines = [b'{"n":%d}' % number for number in range(25)]
    (tmp_path / "events").write_bytes(b"\n".join(lines) + b"\n")
    done = await forebay(
        "send", "bookings", tmp_path / "events", "--batch", "10", "--key", "k", *way(file)
    )
    assert done == (0, "accepted 25, duplicates 0, dropped 0, rejected 0\n", "")
    assert daemon.events == lines
    assert daemon.keys == ["k/1-10", "k/11-20", "k/21-25"]


async def test_rejected_lines_are_numbered_through_the_whole_input(file: Path):
    lines = b'{"n":1}\n\nbad\n{"n":2}\n[]\n'
    done = await forebay("send", "s", "-c", file, "--batch", "2", "--json", stdin=lines)
    assert done.status == 1
    assert done.err.splitlines() == ["line 3: not a JSON object", "line 5: not a JSON object"]
    assert json.loads(done.out) == {
        "accepted": 2,
        "duplicates": 0,
        "dropped": 0,
        "rejected": 2,
        "next_line": None,
    }


async def test_a_full_buffer_is_waited_for(file: Path, daemon: Daemon):
    full = (429, {"status": "failed", "error": "the buffer is full"}, {"Retry-After": "0"})
    daemon.answers = [full, full]
    done = await forebay("send", "s", "-c", file, stdin=b'{"n":1}\n')
    assert done.status == 0
    assert daemon.events == [b'{"n":1}']


async def test_giving_up_says_from_which_line_to_go_on(file: Path, daemon: Daemon):
    full = (429, {"status": "failed", "error": "the buffer is full"}, {"Retry-After": "3600"})
    daemon.answers = [(200, {"accepted": 2}, {}), full]
    done = await forebay(
        "send", "s", "-", "-c", file, "--batch", "2", "--key", "k", stdin=b"{}\n" * 5
    )
    assert done.status == 1
    assert done.out == "accepted 2, duplicates 0, dropped 0, rejected 0\n"
    assert done.err.splitlines() == [
        "forebay: line 3 and what follows was not sent: gave up after 60 s: the buffer is full",
        "go on with: forebay send s - --from 3 --batch 2 --key k",
    ]
    again = await forebay(
        "send", "s", "-c", file, "--from", "3", "--batch", "2", "--key", "k", stdin=b"{}\n" * 5
    )
    assert again.status == 0
    assert daemon.keys == ["k/3-4", "k/5-5"]


async def test_the_settings_token_goes_to_no_other_daemon(file: Path, daemon: Daemon):
    done = await forebay("send", "s", "-c", file, "--url", daemon.url, stdin=b"{}")
    assert done.status == 1
    assert "send the token" in done.err


@pytest.mark.usefixtures("file")
async def test_a_token_can_come_from_a_file(daemon: Daemon, tmp_path: Path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    url = daemon.url
    done = await forebay("send", "s", "--url", url, "--token", f"@{tmp_path}/token", stdin=b"{}")
    assert done.status == 0
    missing = await forebay("send", "s", "--url", url, "--token", "@/no/such", stdin=b"{}")
    assert missing.status == 1
    assert "the token cannot be read" in missing.err


async def test_a_missing_file_and_a_missing_daemon_are_one_line(file: Path, tmp_path: Path):
    done = await forebay("send", "s", tmp_path / "no", "-c", file)
    assert done == (
        1,
        "",
        f"forebay: {tmp_path / 'no'}: cannot be read: No such file or directory\n",
    )
    gone = await forebay("send", "s", "--socket", tmp_path / "gone", stdin=b"{}")
    assert gone.status == 1
    assert "no answer: No such file or directory" in gone.err
    assert "Traceback" not in gone.err


async def test_nothing_to_send_is_fine(file: Path):
    assert (await forebay("send", "s", "-c", file)).status == 0


async def test_ctrl_c_ends_sending_with_a_hint_and_no_traceback(file: Path, daemon: Daemon):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "forebay.daemon", "send", "s", "-c", str(file), "--batch", "1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    process.stdin.write(b"{}\n{}\n{}\n")
    async with asyncio.timeout(30):
        await daemon.second_post.wait()
    # The first line is known to be taken; the second may be, and its key makes that harmless.
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 130
    assert b"accepted" in out
    assert b"--from 2 " in err or b"--from 3 " in err
    assert b"Traceback" not in err


async def test_the_emulator_serves_until_ctrl_c():
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "forebay.daemon", "emulate", "powerbi"),
        *("--listen", "127.0.0.1:0", "--requests-per-minute", "1", "--push-key", "k"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    first = (await process.stdout.readline()).decode()
    url = first.split()[4].rstrip(";")
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /_/tables HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"push_url" in out


@pytest.mark.usefixtures("file")
async def test_an_address_that_is_taken_is_one_line(daemon: Daemon):
    address = daemon.url.removeprefix("http://")
    done = await forebay("emulate", "powerbi", "--listen", address)
    assert done.status == 1
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"forebay: cannot listen on {address}: ")
