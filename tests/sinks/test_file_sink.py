import gzip
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from permissions import bound_by_permissions, public_directory
from pydantic import ValidationError
from sink_helpers import Clock, batch, opened, part

from forebay.sinks import Batch, Context, Hold, Retry
from forebay.sinks._file_names import place, safe_name
from forebay.sinks.file import FileOptions, FileSink

HUGE = 10**6


def sink(context: Context, path: Path | str, **options: Any) -> FileSink:
    return FileSink(FileOptions(path=str(path), **options), context)


async def store(context: Context, path: Path | str, *batches: Batch, **options: Any) -> None:
    async with opened(sink(context, path, **options)) as file:
        for what in batches:
            await file.send(what)


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.*"))


def zstd(data: bytes) -> bytes:
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    return reader.read()


def contents(path: Path, compression: str = "none") -> bytes:
    return READ[compression](path.read_bytes())


READ = {"none": bytes, "gzip": gzip.decompress, "zstd": zstd}
SUFFIX = {"none": "", "gzip": ".gz", "zstd": ".zst"}


@pytest.mark.parametrize("compression", READ)
async def test_events_are_appended_across_restarts_byte_for_byte(
    compression: str, context: Context, tmp_path: Path
):
    path = tmp_path / "new" / "deep" / "events.ndjson"
    for _ in range(2):
        await store(
            context, path, batch(b'{"a":1.10}', b'{"b":2}'), batch(b"{}"), compression=compression
        )
    written = path.with_name(path.name + SUFFIX[compression])
    assert contents(written, compression) == b'{"a":1.10}\n{"b":2}\n{}\n' * 2


async def test_each_stream_goes_to_its_own_file_in_order(context: Context, tmp_path: Path):
    what = Batch(
        "a1b2/sales",
        (
            part({"n": 1}, stream="one"),
            part({"n": 2}, stream="two", first=2),
            part({"n": 3}, stream="one", first=3),
        ),
    )
    await store(context, tmp_path / "{stream}.ndjson", what)
    assert (tmp_path / "one.ndjson").read_text() == '{"n": 1}\n{"n": 3}\n'
    assert (tmp_path / "two.ndjson").read_text() == '{"n": 2}\n'


async def test_names_tell_the_time_in_utc(context: Context, clock: Clock, tmp_path: Path):
    template = tmp_path / "{stream}" / "%Y-%m-%dT%H%M.ndjson"
    await store(context, template, batch({}))
    clock.tick(3600)
    await store(context, template, batch({}))
    assert names(tmp_path) == ["orders/2026-11-22T1000.ndjson", "orders/2026-11-22T1100.ndjson"]


@pytest.mark.parametrize("compression", READ)
async def test_no_rotated_file_is_ever_overwritten(
    compression: str, context: Context, tmp_path: Path
):
    rows = [batch({"n": n, "pad": os.urandom(300).hex()}) for n in range(6)]
    for pair in (rows[:2], rows[2:4], rows[4:]):
        await store(
            context, tmp_path / "a.ndjson", *pair, rotate_bytes=500, compression=compression
        )
    expected = ["a.ndjson", *(f"a~000{n}.ndjson" for n in range(1, 6))]
    assert names(tmp_path) == [name + SUFFIX[compression] for name in expected]
    for name, row in zip(names(tmp_path), rows, strict=True):
        assert READ[compression]((tmp_path / name).read_bytes()) == row.ndjson() + b"\n"


async def test_a_number_is_not_used_again_after_earlier_files_were_taken_away(
    context: Context, tmp_path: Path
):
    (tmp_path / "a~0007.ndjson").write_text("{}\n")
    await store(context, tmp_path / "a.ndjson", batch({"n": 1}), rotate_bytes=5)
    assert names(tmp_path) == ["a~0007.ndjson", "a~0008.ndjson"]


async def test_files_fill_up_to_the_bound_and_not_beyond(context: Context, tmp_path: Path):
    await store(context, tmp_path / "a.ndjson", *[batch({"n": 1})] * 4, rotate_bytes=18)
    assert [len(contents(tmp_path / name)) for name in names(tmp_path)] == [18, 18]


async def test_a_new_window_begins_a_new_file_also_after_a_restart(
    context: Context, clock: Clock, tmp_path: Path
):
    for _ in range(3):
        await store(context, tmp_path / "%Y.ndjson", batch({}), rotate_every="6h")
        clock.tick(2.5 * 3600)
    assert names(tmp_path) == ["2026~20261122T060000Z.ndjson", "2026~20261122T120000Z.ndjson"]
    assert (tmp_path / "2026~20261122T120000Z.ndjson").read_text() == "{}\n{}\n"


TAILS = [
    (b'{"a":1}\n{"torn": tr', b'{"a":1}\n'),
    (b'{"torn', b""),
    (b'{"a":1}\n \t{"torn": tr', b'{"a":1}\n'),
    (b'{"a":1}\n{"whole":1}', b'{"a":1}\n{"whole":1}\n'),
    (b'{"a":1}\n\0\0\0', b'{"a":1}\n\0\0\0\n'),
    (b"somebody's notes", b"somebody's notes\n"),
    (b'{"a":1}\n', b'{"a":1}\n'),
    (b"", b""),
    (b'{"a":1}\n{"torn":"' + b"x" * 3_000_000, b'{"a":1}\n'),
]


@pytest.mark.parametrize(("found", "kept"), TAILS)
async def test_a_line_torn_by_a_crash_does_not_spoil_the_next(
    found: bytes, kept: bytes, context: Context, tmp_path: Path
):
    path = tmp_path / "a.ndjson"
    path.write_bytes(found)
    await store(context, path, batch(b'{"new":1}'))
    assert path.read_bytes() == kept + b'{"new":1}\n'


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("torn", [1, 5, 15, 21])
async def test_a_member_torn_by_a_crash_does_not_spoil_the_file(
    compression: str, torn: int, context: Context, tmp_path: Path
):
    path = tmp_path / f"a.ndjson{SUFFIX[compression]}"
    await store(context, tmp_path / "a.ndjson", batch({"n": 1}), compression=compression)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:torn])
    assert torn < len(whole)
    await store(context, tmp_path / "a.ndjson", batch({"n": 2}), compression=compression)
    assert READ[compression](path.read_bytes()) == b'{"n": 1}\n{"n": 2}\n'


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_a_damaged_file_is_left_alone_and_the_next_one_begun(
    compression: str, context: Context, tmp_path: Path
):
    path = tmp_path / f"a.ndjson{SUFFIX[compression]}"
    path.write_bytes(b"this was never compressed")
    await store(context, tmp_path / "a.ndjson", batch({"n": 2}), compression=compression)
    assert path.read_bytes() == b"this was never compressed"
    after = tmp_path / f"a~0001.ndjson{SUFFIX[compression]}"
    assert READ[compression](after.read_bytes()) == b'{"n": 2}\n'


@given(st.text(min_size=1), st.sampled_from(["/data/{stream}.ndjson", "/data/{stream}/%Y"]))
def test_no_name_of_a_stream_leads_out_of_the_directory(stream: str, template: str):
    path = place(template, "", None, stream, 0.0).numbered(0)
    assert path.parts[:2] == ("/", "data")
    assert len(path.parts) == len(Path(template).parts)
    assert os.path.normpath(path) == str(path)
    assert safe_name(stream) not in {"", ".", ".."}


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_usual_names_stay_as_they_are(stream: str):
    assert str(place("/data/{stream}", "", None, stream, 0.0).numbered(0)) == f"/data/{stream}"


async def test_a_percent_in_the_name_of_a_stream_is_no_time(context: Context, tmp_path: Path):
    await store(context, tmp_path / "{stream}.x", batch({}, stream="%Y/../../etc"))
    assert names(tmp_path) == ["%25Y%2F..%2F..%2Fetc.x"]


async def test_a_file_where_a_directory_should_be_is_for_a_person(context: Context, tmp_path: Path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.ndjson", tmp_path, tmp_path / ("n" * 300)):
        with pytest.raises(Hold, match="Correct `path`"):
            await store(context, path, batch({}))


async def test_a_missing_permission_is_for_a_person(context: Context):
    with public_directory() as directory:
        (directory / "ours").mkdir(mode=0o500)
        with bound_by_permissions(), pytest.raises(Hold, match="Permission denied"):
            await store(context, directory / "ours" / "a.ndjson", batch({}))


async def test_a_directory_that_cannot_be_made_leaves_nothing_in_doubt(context: Context):
    with pytest.raises(Retry, match="cannot write /proc/none/a") as raised:
        await store(context, "/proc/none/a", batch({}))
    assert not raised.value.ambiguous


async def test_a_full_disk_is_waited_for(context: Context):
    with pytest.raises(Retry, match="cannot write /dev/full: No space left on device") as raised:
        await store(context, "/dev/full", batch({}))
    assert raised.value.ambiguous  # a device cannot be cut back


SCRIPT = """
import asyncio, resource, signal, sys
sys.path.insert(0, {tests!r})
from sink_helpers import Clock, batch, part
from forebay.sinks import Batch, Context, Retry
from forebay.sinks.file import FileOptions, FileSink

async def main():
    sink = FileSink(FileOptions(path={path!r}), Context("s", "i", Clock().monotonic))
    await sink.send(Batch("i/s", (part({{"n": 1}}, stream="a"),)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    both = Batch("i/s", (part({{"n": 2}}, stream="a"), part({{"n": "x" * 9000}}, stream="b")))
    try:
        await sink.send(both)
    except Retry as answer:
        print(answer.reason, answer.ambiguous)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    await sink.send(both)
    await sink.close()

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
asyncio.run(main())
"""


def test_a_batch_that_does_not_fit_is_taken_back_and_stored_once_later(tmp_path: Path):
    script = SCRIPT.format(path=str(tmp_path / "{stream}.x"), tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("File too large False\n")
    assert (tmp_path / "a.x").read_text() == '{"n": 1}\n{"n": 2}\n'
    assert (tmp_path / "b.x").read_text() == '{"n": "' + "x" * 9000 + '"}\n'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, "write the path of a file"),
        ({"path": "/data/"}, "write the path of a file"),
        ({"path": "/data/\0"}, "write the path of a file"),
        ({"path": "/data/{streem}.x"}, "the only name there is"),
        ({"path": "/data/{stream}.x", "rotate_every": "10ms"}, "rotate_every"),
        ({"path": "/data/{stream}.x", "rotate_every": "daily"}, "with its unit"),
        ({"path": "/data/{stream}.x", "rotate_bytes": 0}, "rotate_bytes"),
        ({"path": "/data/{stream}.x", "compression": "lzma"}, "compression"),
    ],
)
def test_bad_options_are_told_clearly(options: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        FileOptions.model_validate(options)


def test_sizes_and_times_are_written_as_everywhere():
    options = FileOptions(path="/data/a", rotate_bytes="64MiB", rotate_every="1d")
    assert options.rotate_bytes == 64 * 1024 * 1024
    assert options.rotate_every is not None
    assert options.rotate_every.total_seconds() == 86400


async def test_what_is_remembered_of_files_does_not_grow_for_ever(
    context: Context, clock: Clock, tmp_path: Path
):
    file = sink(context, "{stream}/a", rotate_bytes=HUGE)
    for number in range(1500):
        target = place("/x/{stream}", "", None, str(number), 0.0)
        file._remember(target, 0, 1)
    assert len(file._reached) == 1000
    await file.close()
