"""Named points between two steps of bookkeeping at which a test lets the process die.

    FOREBAY_CRASH_AT=commit.inserted      SIGKILL at the first passage
    FOREBAY_CRASH_AT=commit.inserted:7    … at the seventh

Without the variable they do nothing. They are passed once a commit or a batch, not once a request.
"""

import os
import signal
from itertools import count
from typing import Final

VARIABLE: Final = "FOREBAY_CRASH_AT"
POINTS: Final = frozenset(
    {
        # a commit of the writer
        "commit.begin",
        "commit.inserted",  # all but what a commit that only appends writes with its end
        "commit.committed",
        # what is in one: before its COMMIT
        "dead_letters.buried",
        "dead_letters.put_back",
        "dead_letters.settled_again",
        "quarantine.moved",
        # between commits
        "maintenance.expired",
        "maintenance.trimmed",
        "maintenance.committed",
        "checkpoint.before",
        "checkpoint.after",
        # delivery of a batch
        "delivery.read",
        "delivery.recorded",
        "delivery.answered",
        "delivery.settled",
        # taking over a configuration
        "sinks.abandoned",
    }
)

_name, _, _passage = os.environ.get(VARIABLE, "").partition(":")
_passages = count(1)


def point(name: str) -> None:
    """Kill this process if this is the place and the passage to do it."""
    if name == _name and next(_passages) == int(_passage or 1):
        os.kill(os.getpid(), signal.SIGKILL)
