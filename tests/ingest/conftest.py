import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop
from ingest_kit import Kitchen


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The daemon runs on uvloop; the standard loop keeps us from leaning on its quirks."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(params=["tcp", "unix"])
def listener(request: pytest.FixtureRequest) -> str:
    """The name of the listener to talk to."""
    return str(request.param)


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)
