"""`forebay send`: events from a file to the running daemon."""

import argparse
import contextlib
import json
import os
import shlex
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from pydantic import ByteSize, TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from forebay.daemon.cli import connection
from forebay.daemon.cli.configured import configured
from forebay.daemon.cli.output import complain, say, shown
from forebay.daemon.cli.parser import CommandError, Commands, UsageError, add_json_option
from forebay.daemon.cli.sending import Chunk, NotSentError, Reply, Sender, chunks
from forebay.sinks.units import Duration

_ANSWER_TIMEOUT = 60.0
_INTERRUPTED = 130
_EXAMPLES = """\
  forebay send bookings events.ndjson
  psql -Atc 'select row_to_json(b) from bookings b' | forebay send bookings
  forebay send bookings events.ndjson --socket /run/forebay/ingest.sock
  forebay send bookings events.ndjson --from 20001 --key nightly-2026-11-22"""


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add(
        "send",
        run,
        summary="send NDJSON, one event a line, to the running daemon",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("stream", metavar="STREAM", help="stream to send to")
    add("file", metavar="FILE", nargs="?", default="-", help="file to read; - is standard input")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--url", help="daemon to send to, like http://127.0.0.1:4680")
    target.add_argument("--socket", metavar="PATH", help="Unix socket of the daemon")
    add("--token", help="token for --url or --socket; @FILE reads it from a file")
    add("--batch", type=_at_least_one, default=1000, metavar="N", help="lines a request (1000)")
    add("--batch-bytes", default="1MiB", metavar="SIZE", help="bytes a request (1MiB)")
    add("--timeout", default="1m", help="how long to wait for a busy daemon, each time (1m)")
    add("--from", dest="start", type=_at_least_one, default=1, metavar="LINE", help="first line")
    add("--key", help="sending again with the same key and --batch stores nothing twice")
    add_json_option(parser)


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def run(args: argparse.Namespace) -> int:
    size = _parsed(ByteSize, args.batch_bytes, "--batch-bytes must be a size, like 256KiB")
    timeout = _parsed(Duration, args.timeout, "--timeout must be a duration, like 30s or 5m")
    http, token = _target(args)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    sender = Sender(
        post=_Poster(http, args.stream, token, {} if args.url else connection.LOCAL),
        key=args.key or uuid.uuid4().hex,
        timeout=timeout.total_seconds(),
        monotonic=time.monotonic,
        sleep=time.sleep,
        report=lambda line, why: _complain(progress, f"line {line}: {why}"),
    )
    with _opened(args.file) as (file, total), contextlib.closing(http), progress:
        task = progress.add_task(args.stream, total=total)
        batches = chunks(file, start=args.start, max_lines=args.batch, max_bytes=size)
        stopped = _send_all(sender, batches, args.start, lambda n: progress.advance(task, n))
    return _conclude(args, sender, stopped)


@dataclass(frozen=True, slots=True)
class _Stop:
    """Where sending ended early, and with which status the command ends for it."""

    line: int
    why: str
    status: int


def _send_all(
    sender: Sender, batches: Iterator[Chunk], line: int, advance: Callable[[int], None]
) -> _Stop | None:
    try:
        for chunk in batches:
            sender.send(chunk)
            line = chunk.last + 1
            advance(len(chunk.body) + 1)
    except NotSentError as error:
        return _Stop(error.line, str(error), 1)
    except KeyboardInterrupt:
        return _Stop(line, "interrupted", _INTERRUPTED)
    return None


def _conclude(args: argparse.Namespace, sender: Sender, stopped: _Stop | None) -> int:
    totals = asdict(sender.totals)
    if args.json:
        say(json.dumps({**totals, "next_line": stopped.line if stopped else None}))
    else:
        say(", ".join(f"{name} {number}" for name, number in totals.items()))
    if stopped is None:
        return int(sender.totals.rejected > 0)
    again = ["forebay", "send", args.stream, args.file, "--from", str(stopped.line)]
    again += ["--batch", str(args.batch), "--key", sender.key]
    complain(
        f"forebay: line {stopped.line} and what follows was not sent: {shown(stopped.why)}",
        f"go on with: {shlex.join(again)}",
    )
    return stopped.status


def _complain(progress: Progress, text: str) -> None:
    progress.console.print(shown(text), markup=False, highlight=False, emoji=False, soft_wrap=True)


def _parsed(kind: Any, text: str, complaint: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError:
        raise UsageError(complaint) from None


@contextlib.contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file and its size, where that is known."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115  closed below; this part alone may fail
    except OSError as error:
        raise CommandError(f"{name}: cannot be read: {error.strerror}") from None
    with file:
        status = os.fstat(file.fileno())
        yield file, status.st_size if stat.S_ISREG(status.st_mode) else None


def _target(args: argparse.Namespace) -> tuple[HTTPConnection, str]:
    """Where to send, and the token for it.

    The settings' token goes to nobody but the daemon of these settings.
    """
    token = _token(args.token or "")
    if args.url:
        return connection.to_url(args.url, _ANSWER_TIMEOUT), token
    if args.socket:
        return connection.UnixConnection(args.socket, _ANSWER_TIMEOUT), token
    ingest = configured(args).settings.ingest
    token = token or ingest.token.get_secret_value()
    if ingest.listen:
        return connection.tcp(ingest.listen, _ANSWER_TIMEOUT), token
    return connection.UnixConnection(ingest.socket, _ANSWER_TIMEOUT), token


def _token(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise CommandError(f"{text[1:]}: the token cannot be read from there") from None


class _Poster:
    """Posts to one stream over a connection that is kept."""

    def __init__(
        self, http: HTTPConnection, stream: str, token: str, host: Mapping[str, str]
    ) -> None:
        self._http = http
        self._path = f"/v1/events/{quote(stream, safe='')}"
        self._headers = {"Content-Type": "application/x-ndjson", **host}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def __call__(self, body: bytes, key: str) -> Reply:
        try:
            # A daemon that refuses a body need not read it to its end: its answer is there.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._http.request(
                    "POST", self._path, body, {**self._headers, "Idempotency-Key": key}
                )
            answer = self._http.getresponse()
            content = answer.read()
        except connection.FAILURES:
            self._http.close()
            raise
        after = answer.headers.get("Retry-After", "")
        return Reply(answer.status, _table(content), float(after) if after.isdecimal() else None)


def _table(content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
