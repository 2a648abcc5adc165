"""What the emulator counts about the requests that came."""

from collections import Counter
from dataclasses import dataclass, field, fields


@dataclass
class Stats:
    """Counts since the start or the last reset; requests to `/_/` are not among them."""

    requests: int = 0
    """All requests, the token endpoint's too."""
    row_requests: int = 0
    """POSTs of rows, whatever their answer."""
    token_requests: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    """Answers by status code."""
    throttled: int = 0
    """429s."""
    unanswered: int = 0
    """Requests whose connection ended without an answer."""
    under_way: int = 0
    """Requests that wait for their answer now."""
    max_pending: int = 0
    """The most POSTs of rows that were under way at once for one dataset, refused ones too."""
    rows_stored: int = 0
    rows_refused: int = 0
    """Rows found bad."""
    rows_repeated: int = 0
    """Rows not stored again because of their sequence number."""
    max_rows_per_request: int = 0
    max_bytes_per_request: int = 0
    bytes_received: int = 0
    """Bytes of the bodies of POSTs of rows, those that were read to their end."""

    def clear(self) -> None:
        """Count from zero; what is under way still is."""
        fresh = Stats(under_way=self.under_way)
        for counted in fields(self):
            setattr(self, counted.name, getattr(fresh, counted.name))

    def arrived(self, *, rows: bool, token: bool) -> None:
        self.requests += 1
        self.row_requests += rows
        self.token_requests += token
        self.under_way += 1

    def left(self, status: int | None) -> None:
        """A request was answered with `status`, or not at all."""
        self.under_way -= 1
        if status is None:
            self.unanswered += 1
        else:
            self.by_status[status] += 1
            self.throttled += status == 429  # noqa: PLR2004  Too Many Requests

    def received(self, body: bytes) -> None:
        self.bytes_received += len(body)
        self.max_bytes_per_request = max(self.max_bytes_per_request, len(body))

    def counted(self, rows: int) -> None:
        self.max_rows_per_request = max(self.max_rows_per_request, rows)
