"""Commands that need no daemon: statuses, messages, and never a traceback."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_kit import Done, environment, forebay

from forebay.daemon.cli.main import main

SECRET = "hush-hush-hush"
GOOD = f"""
[ingest]
token = "{SECRET}"

[sinks.sales]
type = "powerbi"
push_url = "https://example.com/rows?key={SECRET}"
streams = ["bookings", "orders.*"]
"""


Call = Callable[..., Done]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in this process; an exception that it lets through fails the test."""
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)

    def run(*arguments: str) -> Done:
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "forebay.toml"
    path.write_text(GOOD)
    return path


async def test_version_is_one_line_of_the_versions_that_matter():
    done = await forebay("version")
    assert done.status == 0
    assert done.out.startswith("forebay ")
    assert "SQLite" in done.out


def test_version_loads_nothing_heavy():
    code = (
        "import sys; from forebay.daemon.cli.main import main; main(['version']); "
        "print([m for m in ('pydantic', 'aiohttp', 'rich', 'structlog') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout.splitlines()[-1] == "[]"


async def test_check_accepts_good_settings(file: Path):
    done = await forebay("check", "-c", file)
    assert done == (0, f"{file}: fine, 1 sink\n", "")


async def test_check_says_what_it_means_to_have_no_sinks():
    done = await forebay("check")
    assert done.status == 0
    assert "refused with 404" in done.out
    assert "0 sinks" in done.out


async def test_check_warns_of_open_doors(tmp_path: Path):
    file = tmp_path / "f.toml"
    file.write_text('[ingest]\nlisten = "0.0.0.0:4680"\n[admin]\nlisten = "localhost:4681"\n')
    done = await forebay("check", "-c", file)
    assert "note: ingest.listen is open to other machines and ingest.token is not set" in done.out
    assert "admin.listen is open" not in done.out


async def test_check_reports_every_mistake_a_line_and_exits_1(tmp_path: Path):
    file = tmp_path / "f.toml"
    file.write_text("[ingest]\nlisen = 1\n[bufer]\n")
    done = await forebay("check", "-c", file, env={"FOREBAY_ADMIN__TOKN": SECRET})
    assert done.status == 1
    assert done.err.splitlines() == [
        f"{file}:2: ingest.lisen: no such setting; did you mean ingest.listen?",
        f"{file}:3: bufer: no such setting; did you mean buffer?",
        "FOREBAY_ADMIN__TOKN: admin.tokn: no such setting; did you mean FOREBAY_ADMIN__TOKEN?",
    ]


@pytest.mark.parametrize("command", ["check", "config", "sinks", "status", "run"])
@pytest.mark.parametrize(
    "text", ["a =", f'ingest.token = ["{SECRET}"]', f'[sinks.a]\ntype = "http"\nurl = "{SECRET}"']
)
def test_bad_settings_are_told_without_traceback_and_secret(
    tmp_path: Path, call: Call, command: str, text: str
):
    file = tmp_path / "f.toml"
    file.write_text(text)
    done = call("-c", str(file), command)
    assert done.status == 1
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"{file}:")
    assert SECRET not in done.err


async def test_a_missing_file_is_one_line(tmp_path: Path):
    done = await forebay("check", "-c", tmp_path / "no.toml")
    assert done == (1, "", f"{tmp_path / 'no.toml'}: cannot be read: No such file or directory\n")


async def test_the_file_may_be_named_before_after_or_in_the_environment(file: Path):
    before = await forebay("-c", file, "sinks", "--json")
    after = await forebay("sinks", "--json", "-c", file)
    named = await forebay("sinks", "--json", env={"FOREBAY_CONFIG": str(file)})
    assert before == after == named
    assert json.loads(before.out)["sinks"][0]["streams"] == ["bookings", "orders.*"]


async def test_config_is_toml_with_masked_secrets_and_origins(file: Path):
    done = await forebay("config", "-c", file, env={"FOREBAY_BUFFER__MAX_BYTES": "3GiB"})
    assert done.status == 0
    assert SECRET not in done.out
    assert "# environment FOREBAY_BUFFER__MAX_BYTES" in done.out
    assert f"# file {file}:7" in done.out
    printed = tomllib.loads(done.out)
    assert printed["sinks"]["sales"]["push_url"] == "***"
    assert printed["buffer"]["max_bytes"] == "3GiB"


async def test_sinks_lists_what_is_and_what_could_be(file: Path):
    done = await forebay("sinks", "-c", file)
    assert done.status == 0
    assert "sales" in done.out
    assert "known types: file, http, powerbi, stdout" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bogus"],
        ["check", "--bogus"],
        ["-c"],
        ["send"],
        ["pause"],
        ["send", "s", "--batch", "0"],
        ["send", "s", "--from", "x"],
        ["send", "s", "--batch-bytes", "big"],
        ["send", "s", "--timeout", "long"],
        ["send", "s", "--url", "localhost:4680"],
        ["send", "s", "--url", "http://[::1"],
        ["send", "s", "--url", "http://a", "--socket", "b"],
        ["emulate"],
        ["emulate", "bogus"],
        ["emulate", "powerbi", "--listen", "x"],
        ["emulate", "powerbi", "--pending", "x"],
        ["emulate", "powerbi", "--datasets", "x"],
    ],
)
def test_wrong_usage_is_status_2_and_says_so(call: Call, arguments: list[str]):
    done = call(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert "forebay" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [[], *([name] for name in ("run", "check", "config", "status", "send", "sinks", "pause"))],
)
def test_help_is_status_0_with_examples(call: Call, arguments: list[str]):
    done = call(*arguments, "--help")
    assert done.status == 0
    assert "examples:" in done.out or not arguments


def test_the_emulators_options_are_flags(call: Call):
    done = call("emulate", "powerbi", "--help")
    assert done.status == 0
    assert "--requests-per-minute" in done.out


def test_a_reader_that_leaves_early_costs_no_traceback(file: Path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "forebay.daemon", "config", "-c", file],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=environment(),
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_installed_command_is_the_same_program():
    script = Path(sys.executable).with_name("forebay")
    runs = [
        subprocess.run(
            [*command, "version"], capture_output=True, text=True, check=True, env=environment()
        )
        for command in ([script], [sys.executable, "-m", "forebay.daemon"])
    ]
    assert runs[0].stdout == runs[1].stdout != ""
