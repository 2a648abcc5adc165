"""A daemon that cannot start says why in one readable line, and ends."""

import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from daemon_process import Finished, command, write_config


@pytest.fixture
def taken() -> Iterator[str]:
    """An address at which somebody else listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        yield f"127.0.0.1:{other.getsockname()[1]}"


def reason(finished: Finished) -> str:
    """Why it failed, by its only line of level error."""
    assert finished.status == 1, finished
    assert "Traceback" not in finished.errors
    lines = [json.loads(line) for line in finished.errors.splitlines()]
    [failed] = [line for line in lines if line["level"] in ("error", "critical")]
    assert failed["action"] == "daemon.failed"
    assert "\n" not in failed["reason"]
    return str(failed["reason"])


@pytest.mark.parametrize("plane", ["ingest", "admin"])
async def test_a_port_that_is_taken(plane: str, taken: str, tmp_path: Path) -> None:
    sinks = {"demo": {"type": "file", "path": str(tmp_path / "out")}}
    config = write_config(tmp_path, sinks=sinks, **{plane: {"listen": taken}})
    said = reason(await command("run", "-c", str(config)))
    assert taken in said
    assert "in use" in said
    assert f"{plane}.listen" in said


async def test_a_socket_that_is_taken(tmp_path: Path) -> None:
    sinks = {"demo": {"type": "file", "path": str(tmp_path / "out")}}
    config = write_config(tmp_path, sinks=sinks)
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(tmp_path / "ingest.sock"))
        other.listen()
        assert "ingest.sock" in reason(await command("run", "-c", str(config)))


async def test_a_buffer_where_nothing_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory", encoding="utf-8")
    path = str(tmp_path / "file" / "buffer.db")
    assert path in reason(await command("run", "-c", buffer_at(tmp_path, path)))


async def test_a_buffer_that_is_a_directory(tmp_path: Path) -> None:
    path = tmp_path / "directory.db"
    path.mkdir()
    assert str(path) in reason(await command("run", "-c", buffer_at(tmp_path, str(path))))


async def test_a_buffer_that_may_not_be_written(tmp_path: Path) -> None:
    path = "/proc/forebay/buffer.db"  # where even root can make no directory
    assert path in reason(await command("run", "-c", buffer_at(tmp_path, path)))


async def test_a_buffer_that_somebody_keeps_locked(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        said = reason(await command("run", "-c", buffer_at(tmp_path, str(path))))
    assert str(path) in said
    assert "locked" in said


def buffer_at(directory: Path, path: str) -> str:
    sinks = {"demo": {"type": "file", "path": str(directory / "out")}}
    return str(write_config(directory, buffer={"path": path}, sinks=sinks))
