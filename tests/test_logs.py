"""Log lines: what they look like, what they hold back, and that they show no secret."""

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from forebay.daemon.logs import Format, Level, LogOptions, Repeats, configure
from forebay.daemon.masking import Mask

SECRET = 'p@ss "wörd"/+\\x'


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(clock: Clock) -> io.StringIO:
    out = io.StringIO()
    configure(LogOptions(level=Level.DEBUG), {SECRET}, stream=out, monotonic=clock)
    return out


def fail() -> None:
    local = "value-of-a-variable".upper().lower()
    raise ValueError(f"cannot use {SECRET}", len(local))


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_the_action_in_front(stream: io.StringIO):
    structlog.get_logger().warning("sink.held", sink="sales", reason="404")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "warning", "action": "sink.held", "sink": "sales", "reason": "404"}


def test_libraries_write_in_the_same_form(stream: io.StringIO):
    logging.getLogger("aiohttp.server").error("Error handling %s", "request")
    (line,) = lines(stream)
    assert (line["action"], line["logger"]) == ("library", "aiohttp.server")
    assert line["message"] == "Error handling request"


def test_a_traceback_is_a_field_and_one_line(stream: io.StringIO):
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("sink.failed")
        logging.getLogger("x").exception("failed")
    ours, theirs = lines(stream)
    assert "cannot use ***" in ours["traceback"]
    assert "cannot use ***" in theirs["traceback"]


def test_lines_below_the_level_are_not_written():
    out = io.StringIO()
    configure(LogOptions(level=Level.WARNING), stream=out)
    structlog.get_logger().info("quiet")
    logging.getLogger("x").info("quiet")
    assert out.getvalue() == ""


def test_configuring_again_replaces_the_first_time(stream: io.StringIO):
    second = io.StringIO()
    configure(LogOptions(), {"other"}, stream=second)
    structlog.get_logger().info("started", note="other")
    assert stream.getvalue() == ""
    assert [line["note"] for line in lines(second)] == ["***"]


def test_a_terminal_gets_text_and_a_pipe_json():
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        configure(LogOptions(), stream=out)
        structlog.get_logger().info("started")
    assert not terminal.getvalue().startswith("{")
    assert lines(pipe)[0]["action"] == "started"


def test_text_shows_tracebacks_without_the_values_of_variables():
    out = io.StringIO()
    configure(LogOptions(format=Format.TEXT), {SECRET}, stream=out)
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("sink.failed", sink=SECRET)
    assert "Traceback (most recent call last)" in out.getvalue()
    assert "***" in out.getvalue()
    assert "value-of-a-variable" not in out.getvalue()
    assert "wörd" not in out.getvalue()


def test_the_journal_gets_priorities_and_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as out:
        status = os.fstat(out.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configure(LogOptions(level=Level.DEBUG), stream=out)
        for level in ("debug", "info", "warning", "error", "critical"):
            structlog.get_logger().log(getattr(logging, level.upper()), level)
    written = path.read_text(encoding="utf-8").splitlines()
    assert [line[:3] for line in written] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert "timestamp" not in json.loads(written[0][3:])


def test_a_repeated_line_comes_once_a_minute_with_the_number_held_back(
    stream: io.StringIO, clock: Clock
):
    log = structlog.get_logger()
    for _ in range(60):
        log.warning("buffer.full", sink="a", n=clock.now)
        clock.now += 2
    assert [line.get("suppressed", 0) for line in lines(stream)] == [0, 29]


def test_another_sink_or_reason_is_no_repetition(stream: io.StringIO):
    log = structlog.get_logger()
    for _ in range(2):
        log.warning("sink.held", sink="a", reason="404")
        log.warning("sink.held", sink="b", reason="404")
        log.warning("sink.held", sink="a", reason="403")
        log.warning("sink.resumed", sink="a")
    assert len(lines(stream)) == 4


def test_losses_of_two_kinds_are_no_repetition(stream: io.StringIO):
    log = structlog.get_logger()
    for outcome in ("dropped", "expired", "dropped"):
        log.warning("buffer.dropped", sink="a", outcome=outcome, events=1)
    assert [line["outcome"] for line in lines(stream)] == ["dropped", "expired"]


def test_libraries_that_repeat_themselves_are_held_back_too(stream: io.StringIO):
    for name in ("a", "a", "b"):
        logging.getLogger(name).error("unclosed connection")
    assert [line["logger"] for line in lines(stream)] == ["a", "b"]


def test_ever_new_reasons_do_not_fill_the_memory(clock: Clock):
    repeats = Repeats(clock, remembered=10)
    assert all(repeats.admit(number) == 0 for number in range(1000))
    assert len(repeats._seen) == 10


def test_a_secret_is_masked_wherever_it_stands(stream: io.StringIO):
    structlog.get_logger().error(
        f"action {SECRET}",
        text=f"<{SECRET}>",
        nested={"list": [SECRET, {SECRET: 1}], "tuple": (SECRET,), "set": {SECRET}},
        raw=SECRET.encode(),
        error=ValueError(SECRET),
        path=Path("/x") / SECRET,
    )
    (line,) = lines(stream)
    assert "wörd" not in stream.getvalue()
    assert line["nested"] == {"list": ["***", {"***": 1}], "tuple": ["***"], "set": ["***"]}
    assert line["text"] == "<***>"


def test_a_secret_in_a_library_line_is_masked(stream: io.StringIO):
    logging.getLogger("x").error("cannot connect to %s", SECRET)
    assert lines(stream)[0]["message"] == "cannot connect to ***"


PRINTABLE = st.text(st.characters(exclude_categories=["C"]), min_size=4)


@given(PRINTABLE)
def test_every_form_of_a_secret_is_masked(secret: str):
    mask = Mask([secret])
    encoded = quote(secret, safe="")
    lower = re.sub("%..", lambda match: match[0].lower(), encoded)
    escaped = [json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret)]
    for form in (secret, encoded, lower, *(text[1:-1] for text in escaped)):
        assert mask.text(f"<{form}>") == "<***>"


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        ("https://h.example/rows?tenant=t&key=0123456789abcdef", "0123456789abcdef"),
        ("Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=abcdefghijkl=", "abcdefghijkl="),
        ("Bearer abcdefghijklmnop", "abcdefghijklmnop"),
    ],
)
def test_the_key_inside_a_secret_is_masked_alone_too(secret: str, part: str):
    assert Mask([secret]).text(f"refused: {part}") == "refused: ***"


def test_a_secret_that_contains_another_leaves_nothing_behind():
    assert Mask(["abcd", "abcdefgh"]).text("abcdefgh abcd") == "*** ***"


def test_without_secrets_nothing_changes():
    assert Mask([""]).value({"a": ["b", 1, None, True, 1.5]}) == {"a": ["b", 1, None, True, 1.5]}
