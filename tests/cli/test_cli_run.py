"""What `forebay run` imports, before it does anything: nearly all of its start is that."""

import json
import subprocess
import sys
from typing import Any

import pytest
from cli_kit import environment

# A file that is not there is noticed when all is imported.
PROBE = """
import gc, json, sys
from forebay.daemon.cli.main import main
status = main(["run", "-c", "/nowhere/forebay.toml"])
print(json.dumps({
    "status": status,
    "modules": sorted(sys.modules),
    "collecting": gc.isenabled(),
    "left_alone": gc.get_freeze_count(),
    "collected": len(gc.get_objects()),
}))
"""
DAEMON = {"forebay.daemon.app", "aiohttp.web", "structlog", "pydantic", "uvloop"}
OTHERS = (
    "rich.progress",  # for other commands
    *(f"forebay.daemon.cli.{name}" for name in ("check", "send", "status", "tables", "emulate")),
    "forebay.sinks.powerbi.emulator",
)


@pytest.fixture(scope="module")
def probe() -> Any:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, env=environment()
    )
    found = json.loads(done.stdout)
    assert found["status"] == 1
    return found


def test_run_imports_nothing_that_only_others_need(probe: Any):
    modules = set(probe["modules"])
    assert modules >= DAEMON
    assert modules.isdisjoint(OTHERS)


def test_the_collector_runs_and_leaves_alone_what_was_imported(probe: Any):
    assert probe["collecting"]
    assert probe["left_alone"] > 10 * probe["collected"]
