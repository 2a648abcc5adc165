from pathlib import Path

import pytest

from forebay.buffer import BufferOptions, Durability


@pytest.fixture
def options(tmp_path: Path) -> BufferOptions:
    """A small buffer. What an event survives makes no difference to these tests, but for speed."""
    return BufferOptions(
        path=tmp_path / "buffer.db", max_bytes=64 * 1024 * 1024, durability=Durability.OS
    )
