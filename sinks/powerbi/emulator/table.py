"""A table: its rows as they came, as many as its retention keeps."""

from collections import deque

import msgspec

from forebay.sinks.powerbi.emulator.inspection import Inspector, split
from forebay.sinks.powerbi.emulator.options import EmulatorOptions, Retention, Schema


class Table:
    """Rows in the order of their arrival, kept as the JSON arrays that they came in."""

    def __init__(
        self, name: str, options: EmulatorOptions, retention: Retention, schema: Schema | None
    ) -> None:
        self.name = name
        self.retention = retention
        self.count = 0
        self.sequence_numbers: dict[str, int] = {}
        """The highest sequence number of each client."""
        self._options = options
        self._chunks: deque[tuple[int, bytes]] = deque()
        self.redefine(schema)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self.count} rows)"

    def redefine(self, schema: Schema | None) -> None:
        """Take rows of `schema` from now on; None takes any column. The rows stay."""
        self.schema = schema
        self.inspector = Inspector(self._options, schema)

    @property
    def is_large(self) -> bool:
        return self.count >= self._options.large_table_rows

    def has_room(self, rows: int) -> bool:
        return self.retention is Retention.FIFO or self.count + rows <= self._options.max_rows

    def append(self, rows: int, payload: bytes) -> None:
        """Store the JSON array `payload` of `rows` rows; a FIFO table may forget its oldest."""
        if not rows:
            return
        self._chunks.append((rows, payload))
        self.count += rows
        kept = self._options.fifo_rows
        if self.retention is Retention.FIFO and self.count > kept + self._options.fifo_slack:
            self._drop_oldest(self.count - kept)

    def rows(self, offset: int = 0, limit: int | None = None) -> list[bytes]:
        """At most `limit` rows from index `offset` on, oldest first, each as its JSON text."""
        found: list[bytes] = []
        for count, payload in self._chunks:
            if limit is not None and len(found) >= limit:
                break
            if offset < count:
                stop = None if limit is None else offset + limit - len(found)
                found += [bytes(row) for row in split(payload)[offset:stop]]
            offset = max(offset - count, 0)
        return found

    def clear(self) -> None:
        self._chunks.clear()
        self.count = 0

    def _drop_oldest(self, surplus: int) -> None:
        self.count -= surplus
        while surplus:
            count, payload = self._chunks.popleft()
            if count > surplus:
                rest = msgspec.json.encode(split(payload)[surplus:])
                self._chunks.appendleft((count - surplus, rest))
            surplus -= min(count, surplus)
