"""Lines of a TOML file, texts of sizes and durations, and the document that `config` prints."""

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import durationpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ByteSize, TypeAdapter

from forebay.daemon.settings import Loaded, Settings, load
from forebay.daemon.settings.locate import lines
from forebay.daemon.settings.render import render, toml_key, toml_value
from forebay.daemon.settings.text import duration_text, size_text

DOCUMENT = '''\
top = 1            # a comment with [brackets] and "quotes
"quoted key" = 2
text = """
[not.a.header]
fake = 1
"""
literal = \'\'\'
fake = 2\'\'\'
list = [
  1, # one ]
  "]",
]
inline = {a = 1, b = {c = "}"}}

[table]
key = 'it''s'[0:0]
'''.replace("'it''s'[0:0]", "'#'")


def test_lines_are_found_in_spite_of_brackets_quotes_and_comments():
    tail = '[table.below]\n  a.b = 1\n\n[[many]]\nx = 1\n[[many]]\nx = 2\n[ "odd name" . c ]\ny = 1'
    found = lines(DOCUMENT + tail)
    assert {".".join(path): line for path, line in found.items() if path} == {
        "top": 1,
        "quoted key": 2,
        "text": 3,
        "literal": 7,
        "list": 9,
        "inline": 13,
        "inline.a": 13,
        "inline.b": 13,
        "inline.b.c": 13,
        "table": 15,
        "table.key": 16,
        "table.below": 17,
        "table.below.a": 18,
        "table.below.a.b": 18,
        "many": 20,
        "many.x": 21,
        "odd name": 24,
        "odd name.c": 24,
        "odd name.c.y": 25,
    }


@given(st.integers(min_value=0, max_value=2**60), st.integers(min_value=0, max_value=60))
def test_a_size_is_written_exactly(number: int, bits: int):
    size = ByteSize(number >> bits << bits)
    read = tomllib.loads(f"a = {toml_value(size)}")["a"]
    assert TypeAdapter(ByteSize).validate_python(read) == size


def test_a_size_has_the_largest_unit_that_is_exact():
    sizes = {0: "0B", 1000: "1000B", 1024: "1KiB", 1536: "1536B", 2 << 30: "2GiB"}
    assert {size: size_text(size) for size in sizes} == sizes


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=10_000)))
def test_a_duration_is_written_exactly(duration: timedelta):
    assert durationpy.from_str(duration_text(duration)) == duration


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUE = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@given(TEXT, VALUE)
def test_what_is_written_is_what_toml_reads(key: str, value: Any):
    assert tomllib.loads(f"{toml_key(key)} = {toml_value(value)}") == {key: value}


DURATION = st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=400))
LINE = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
TABLES = st.fixed_dictionaries(
    {"streams": st.lists(LINE, min_size=1, max_size=3), "timeout": DURATION.map(duration_text)},
    optional={
        "start": st.sampled_from(["oldest", "now"]),
        "batch": st.fixed_dictionaries(
            {},
            optional={"max_events": st.integers(1, 10**9), "linger": DURATION.map(duration_text)},
        ),
    },
)
COLUMN = st.text(st.characters(exclude_categories=["C"], exclude_characters='"\\'), min_size=1)
SINK = st.one_of(
    TABLES.map(lambda table: {"type": "stdout", **table}),
    TABLES.map(lambda table: {"type": "file", "path": '/data/{stream} ü"\\.ndjson', **table}),
    st.dictionaries(COLUMN, st.just("a.b"), min_size=1, max_size=3).map(
        lambda columns: {
            "type": "powerbi",
            "dataset_id": "abc-1",
            "table": 'x"y',
            "auth": {"tenant_id": "t", "client_id": "c", "client_secret": "***"},
            "columns": columns,
        }
    ),
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "shutdown_timeout": DURATION.map(duration_text),
        "ingest": st.fixed_dictionaries(
            {},
            optional={
                "max_body": st.integers(2**20, 2**40),
                "allowed_hosts": st.lists(LINE, max_size=3),
                "token": st.just("***"),
            },
        ),
        "buffer": st.fixed_dictionaries(
            {"path": LINE.map(lambda name: f"/data/{name.replace('/', '_')}")},
            optional={"max_age": st.just("") | DURATION.map(duration_text)},
        ),
        "sinks": st.dictionaries(
            st.from_regex("[a-z0-9][a-z0-9_-]{0,9}", fullmatch=True), SINK, max_size=3
        ),
    },
)


@settings(max_examples=50)
@given(SETTINGS)
def test_what_config_prints_gives_the_same_settings(values: dict[str, Any]):
    built = Settings(**values)
    again = tomllib.loads(render(Loaded(built, {}, None)))
    assert Settings(**again) == built


def test_config_says_where_each_value_came_from_and_masks_secrets(tmp_path: Path):
    file = tmp_path / "f.toml"
    file.write_text(
        '[ingest]\ntoken = "hush-hush"\n\n[sinks.p]\ntype = "powerbi"\n'
        'push_url = "https://example.com/?key=hush"\ncolumns = {Id = "booking_id"}\n'
    )
    loaded = load(file, {"FOREBAY_BUFFER__MAX_AGE": "7d"})
    text = render(loaded)
    assert "hush" not in text
    commented = dict(line.split("  # ") for line in text.splitlines() if "  # " in line)
    assert {line.strip(): origin for line, origin in commented.items()} == {
        'token = "***"': f"file {file}:2",
        'max_age = "7d"': "environment FOREBAY_BUFFER__MAX_AGE",
        'type = "powerbi"': f"file {file}:5",
        'push_url = "***"': f"file {file}:6",
        'from = "booking_id"': f"file {file}:7",
        "# type is not set": f"file {file}:7",
    }


def test_an_unprintable_file_name_cannot_break_out_of_its_comment(tmp_path: Path):
    file = tmp_path / "a\nb = 1.toml"
    file.write_text('shutdown_timeout = "1s"')
    assert tomllib.loads(render(load(file, {})))["shutdown_timeout"] == "1s"


@pytest.mark.parametrize("text", ["\x7f", "\x00", "\u2028", '"', "\\", "\n"])
def test_awkward_characters_are_escaped(text: str):
    assert tomllib.loads(f"a = {toml_value(text)}") == {"a": text}
