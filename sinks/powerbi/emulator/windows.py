"""Sliding windows: how much may pass in any stretch of time, decided at arrival."""

from collections import deque

from forebay.sinks.powerbi.emulator.options import EmulatorOptions


class Window:
    """Admits at most `quota` in any `length` seconds; a quota of 0 admits everything.

    What is added at t counts up to, and no longer at, t + length. `now` never steps back.
    """

    def __init__(self, quota: int, length: float) -> None:
        self.quota = quota
        self.length = length
        self._passed: deque[tuple[float, int]] = deque()
        self._total = 0

    def __repr__(self) -> str:
        return f"Window({self._total} of {self.quota} in {self.length:g} s)"

    def wait(self, now: float, amount: int = 1) -> float:
        """Seconds until `amount` may pass; 0 when it may pass now.

        An amount above the quota never passes; it is told to wait for the whole length.
        """
        self._forget(now)
        surplus = self._total + amount - self.quota
        if not self.quota or surplus <= 0:
            return 0.0
        if amount <= self.quota:
            for until, passed in self._passed:
                surplus -= passed
                if surplus <= 0:
                    return until - now
        return self.length

    def add(self, now: float, amount: int = 1) -> None:
        self._forget(now)
        if self.quota:
            self._passed.append((now + self.length, amount))
            self._total += amount

    def _forget(self, now: float) -> None:
        while self._passed and self._passed[0][0] <= now:
            self._total -= self._passed.popleft()[1]


class Rates:
    """The windows of one dataset. What is refused counts nowhere."""

    def __init__(self, options: EmulatorOptions) -> None:
        minute, hour = options.minute.total_seconds(), options.hour.total_seconds()
        self._minute = Window(options.requests_per_minute, minute)
        self._hour_large = Window(options.requests_per_hour_large, hour)
        self._rows = Window(options.rows_per_hour, hour)
        self._push_url = Window(options.push_url_per_second, 1.0)

    def request(self, now: float, *, large: bool, push_url: bool) -> tuple[float, str] | None:
        """Count a POST; or, when it must wait, how many seconds and for which limit."""
        waits = [(self._minute.wait(now), "requests per minute")]
        if large:
            waits.append((self._hour_large.wait(now), "requests per hour of a large table"))
        if push_url:
            waits.append((self._push_url.wait(now), "requests per second to the push URL"))
        longest = max(waits)
        if longest[0]:
            return longest
        self._minute.add(now)
        # Counted while the table is small, too: the hour is the last one whenever it matters.
        self._hour_large.add(now)
        if push_url:
            self._push_url.add(now)
        return None

    def rows_wait(self, now: float, rows: int) -> float:
        """Seconds until `rows` more may be stored; 0 when they may be stored now."""
        return self._rows.wait(now, rows)

    def rows_stored(self, now: float, rows: int) -> None:
        self._rows.add(now, rows)
