"""How a file is sent: chunks, retries, and what is said about the lines."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.daemon.cli.sending import Chunk, NotSentError, Reply, Sender, chunks


class Daemon:
    """Answers from a script, then takes everything; a clock that only `sleep` moves."""

    def __init__(self, *script: Reply | Exception) -> None:
        self.script = list(script)
        self.posts: list[tuple[bytes, str]] = []
        self.slept: list[float] = []
        self.reported: list[tuple[int, str]] = []

    def post(self, body: bytes, key: str) -> Reply:
        self.posts.append((body, key))
        answer = self.script.pop(0) if self.script else taken(body)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sender(self, timeout: float = 60.0) -> Sender:
        return Sender(
            post=self.post,
            key="k",
            timeout=timeout,
            monotonic=lambda: sum(self.slept),
            sleep=self.slept.append,
            report=lambda line, why: self.reported.append((line, why)),
        )


def taken(body: bytes) -> Reply:
    return Reply(200, {"accepted": len(body.split(b"\n")), "duplicates": 0, "rejected": 0})


def chunk(first: int, count: int) -> Chunk:
    return Chunk(first, tuple(b"{}" for _ in range(count)))


@given(
    st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"").strip(b"\r"))),
    st.integers(1, 10),
    st.integers(1, 7),
    st.integers(1, 60),
)
def test_no_line_is_lost_doubled_or_numbered_wrongly(
    lines: list[bytes], start: int, max_lines: int, max_bytes: int
):
    made = list(
        chunks(
            (line + b"\r\n" for line in lines),
            start=start,
            max_lines=max_lines,
            max_bytes=max_bytes,
        )
    )
    numbered = [(c.first + at, line) for c in made for at, line in enumerate(c.lines)]
    assert numbered == list(enumerate(lines, 1))[start - 1 :]
    assert all(len(c.lines) <= max_lines for c in made)
    assert all(len(c.body) <= max_bytes or len(c.lines) == 1 for c in made)


def test_chunks_are_made_as_the_file_is_read():
    def endless() -> Iterator[bytes]:
        while True:
            yield b"{}\n"

    assert next(chunks(endless(), start=1, max_lines=3, max_bytes=100)) == chunk(1, 3)


def test_rejected_lines_are_reported_by_their_number_in_the_file():
    daemon = Daemon(
        Reply(
            200,
            {
                "accepted": 1,
                "duplicates": 2,
                "rejected": 1,
                "errors": [{"line": 3, "error": "not a JSON object"}],
            },
        ),
        Reply(422, {"rejected": 1, "errors": [{"line": 1, "error": "too large"}]}),
    )
    sender = daemon.sender()
    sender.send(chunk(101, 4))
    sender.send(chunk(105, 1))
    assert daemon.reported == [(103, "not a JSON object"), (105, "too large")]
    assert (sender.totals.accepted, sender.totals.duplicates, sender.totals.rejected) == (1, 2, 2)


def test_a_busy_daemon_is_asked_again_when_it_says_so_with_the_same_key():
    busy = Reply(429, {"error": "the buffer is full"}, after=7.0)
    daemon = Daemon(busy, Reply(503, {"error": "stopping"}, after=2.0))
    daemon.sender().send(chunk(1, 2))
    assert daemon.slept == [7.0, 2.0]
    assert daemon.posts == [(b"{}\n{}", "k/1-2")] * 3


def test_without_retry_after_the_waits_grow_to_a_bound():
    daemon = Daemon(*[Reply(503, {})] * 6)
    daemon.sender().send(chunk(1, 1))
    assert daemon.slept == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_waiting_ends_at_the_timeout_and_names_the_line():
    daemon = Daemon(*[Reply(429, {"error": "the buffer is full"}, after=4.0)] * 10)
    sender = daemon.sender(timeout=10.0)
    with pytest.raises(NotSentError, match="gave up after 10 s: the buffer is full") as caught:
        sender.send(chunk(21, 5))
    assert caught.value.line == 21
    assert sum(daemon.slept) == 8.0


def test_a_daemon_that_was_never_there_is_not_waited_for():
    daemon = Daemon(ConnectionRefusedError(111, "Connection refused"))
    with pytest.raises(NotSentError, match="no answer: Connection refused"):
        daemon.sender().send(chunk(1, 1))
    assert daemon.slept == []


def test_a_daemon_that_restarts_is_waited_for():
    daemon = Daemon(taken(b"{}"), ConnectionResetError(104, "reset"), ConnectionRefusedError())
    sender = daemon.sender()
    sender.send(chunk(1, 1))
    sender.send(chunk(2, 1))
    assert [key for _, key in daemon.posts] == ["k/1-1", "k/2-2", "k/2-2", "k/2-2"]
    assert sender.totals.accepted == 2


def test_a_body_that_is_too_large_is_halved_to_the_line():
    too_large = Reply(413, {"error": "too large"})
    daemon = Daemon(too_large, too_large)
    sender = daemon.sender()
    sender.send(chunk(1, 3))
    assert [key for _, key in daemon.posts] == ["k/1-3", "k/1-1", "k/2-3"]
    assert daemon.reported == [(1, "too large")]
    assert (sender.totals.accepted, sender.totals.rejected) == (2, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 415, 500])
def test_a_refusal_ends_it_with_the_daemons_own_words(status: int):
    daemon = Daemon(taken(b"{}"), Reply(status, {"error": "do\nthis"}))
    sender = daemon.sender()
    sender.send(chunk(1, 1))
    with pytest.raises(NotSentError, match="do this") as caught:
        sender.send(chunk(2, 1))
    assert caught.value.line == 2


def test_an_answer_without_words_is_named_by_its_status():
    body: dict[str, Any] = {}
    with pytest.raises(NotSentError, match="status 404"):
        Daemon(Reply(404, body)).sender().send(chunk(1, 1))
