import asyncio
import os

import pytest
from sink_helpers import batch

from forebay.sinks import Context, Hold, Retry
from forebay.sinks.stdout import StdoutOptions, StdoutSink


@pytest.fixture
async def stdout(context: Context):
    sink = StdoutSink(StdoutOptions(), context)
    await sink.open()
    yield sink
    await sink.close()


async def test_events_are_written_one_a_line(stdout: StdoutSink, capfd: pytest.CaptureFixture[str]):
    await stdout.send(batch(b'{"a":1.10}', b"{}"))
    await stdout.send(batch(b'{"b":2}'))
    assert capfd.readouterr().out == '{"a":1.10}\n{}\n{"b":2}\n'


async def test_a_reader_that_went_away_is_for_a_person(stdout: StdoutSink):
    reader, stdout.fd = os.pipe()
    os.close(reader)
    with pytest.raises(Hold, match=r"Broken pipe\. Nobody reads it"):
        await stdout.send(batch({}))
    os.close(stdout.fd)
    with pytest.raises(Hold, match="Bad file descriptor"):
        await stdout.send(batch({}))


async def test_a_full_disk_behind_it_is_waited_for(stdout: StdoutSink):
    stdout.fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(Retry, match="No space left") as raised:
        await stdout.send(batch({}))
    assert raised.value.ambiguous
    os.close(stdout.fd)


async def test_more_than_a_pipe_holds_arrives_whole(stdout: StdoutSink):
    reader, stdout.fd = os.pipe()
    large = batch(*[{"pad": "x" * 1000}] * 500)
    sending = asyncio.ensure_future(stdout.send(large))
    read = b""
    while len(read) <= large.nbytes:
        read += await asyncio.to_thread(os.read, reader, 65536)
    await sending
    assert read == large.ndjson() + b"\n"
    os.close(reader)
    os.close(stdout.fd)


async def test_a_reader_that_stopped_blocks_neither_cancelling_nor_closing(stdout: StdoutSink):
    reader, stdout.fd = os.pipe()
    sending = asyncio.ensure_future(stdout.send(batch(*[{"pad": "x" * 1000}] * 500)))
    first = await asyncio.to_thread(os.read, reader, 10)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    again = asyncio.ensure_future(stdout.send(batch({"again": True})))
    read = first
    while not read.endswith(b"}\n"):
        read += await asyncio.to_thread(os.read, reader, 65536)
    await again
    # What was cut off ends its line, so that the next event is whole.
    assert read.splitlines()[-1] == b'{"again": true}'
    os.close(reader)
    os.close(stdout.fd)
