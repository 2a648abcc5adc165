import pytest
from sink_helpers import Clock

from forebay.sinks import Context


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def context(clock: Clock) -> Context:
    return Context("sales", "a1b2", clock.monotonic, clock.wall)
