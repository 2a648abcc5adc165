"""What every pipeline is given by the daemon around it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import random

from forebay.buffer import Store
from forebay.daemon.clock import Clock
from forebay.daemon.metrics import DeliveryMetrics


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One for all sinks; nothing in it lets one sink hinder another."""

    store: Store
    clock: Clock
    metrics: DeliveryMetrics
    random: Callable[[], float] = random
    """Numbers from 0 up to 1, for the jitter."""
    mask: Callable[[str], str] = str
    """Takes every secret of the daemon out of a text. A sink knows its own; what it is told by the
    other side may hold those of others."""
