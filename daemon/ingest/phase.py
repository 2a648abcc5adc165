"""Where a connection is, and how long its client may take there."""

from enum import Enum

from forebay.daemon.ingest.options import IngestOptions

LINGER_SECONDS = 5.0
"""How long a client may go on sending after a last answer, or take to read it."""


class Phase(Enum):
    """ENDING has its last answer in the outbox, LINGERING has sent it."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    ENDING = "ending"
    LINGERING = "lingering"


# Members looked up once: on Python 3.11 each look-up in an Enum takes as long as a header line.
IDLE, HEAD, BODY, ENDING, LINGERING = Phase


def patience(phase: Phase, options: IngestOptions) -> float:
    """Seconds that a client may stay in a phase; in a body, without sending any of it."""
    timeouts = {
        IDLE: options.idle_timeout,
        HEAD: options.header_timeout,
        BODY: options.body_timeout,
    }
    timeout = timeouts.get(phase)
    return LINGER_SECONDS if timeout is None else timeout.total_seconds()
