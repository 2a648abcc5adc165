"""The command as a user runs it: a process of its own, with a clean environment."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_KEPT = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The test's own environment, without what would set anything of forebay."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | dict(extra or {})


async def forebay(
    *arguments: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> Done:
    """Run the command to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "forebay.daemon",
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(env),
    )
    out, err = await process.communicate(stdin)
    return Done(process.returncode or 0, out.decode(), err.decode())
