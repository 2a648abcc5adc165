"""A sink that counts rows, whatever they come in: `python -m benchmarks.programs.rows`.

It answers any POST with 200. `lines` of what GET / answers are the rows: opening braces, so rows
must be flat.
"""

import uvloop

from benchmarks.programs.sink import Sink, serve


class Rows(Sink):
    def on_body(self, body: bytes) -> None:
        self._counts.bytes += len(body)
        self._counts.lines += body.count(b"{")


if __name__ == "__main__":
    uvloop.run(serve("count", 0.0, Rows))
