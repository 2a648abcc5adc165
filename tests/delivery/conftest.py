from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from delivery_kit import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as world:
        yield world
