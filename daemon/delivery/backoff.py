"""How long to wait before the next attempt: exponential, with full jitter.

wait = random() · min(cap, base · 2^(attempt-1)), after "Exponential Backoff And Jitter" (AWS
Architecture Blog, 2015): many clients that failed together do not come back together.
"""

from collections.abc import Callable

from forebay.daemon.delivery.options import RetryOptions

_DOUBLINGS = 40
"""More would only overflow: base · 2^40 is beyond any cap."""


class Backoff:
    """`random` gives numbers from 0 up to 1."""

    def __init__(self, options: RetryOptions, random: Callable[[], float]) -> None:
        self._base = options.base.total_seconds()
        self._cap = options.cap.total_seconds()
        self._random = random

    def seconds(self, attempt: int) -> float:
        """The wait after failed attempt number `attempt`, counted from 1."""
        bound = self._base * 2.0 ** min(attempt - 1, _DOUBLINGS)
        return self._random() * min(self._cap, bound)
