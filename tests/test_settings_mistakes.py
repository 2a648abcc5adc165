"""Every mistake is one line: where, what, and what to write. No line shows a value."""

from pathlib import Path

import pytest

from forebay.daemon.settings import SettingsError, load

SECRET = "https://api.powerbi.com/beta/t/datasets/d/rows?key=hush-hush-hush"


def mistakes(tmp_path: Path, text: str, **environ: str) -> list[str]:
    """The lines about a file and variables, the file's directory left out."""
    file = tmp_path / "f.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(file, {f"FOREBAY_{name}": value for name, value in environ.items()})
    return [line.replace(f"{tmp_path}/", "") for line in caught.value.lines]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[ingest]\nlisen = 1",
            "f.toml:2: ingest.lisen: no such setting; did you mean ingest.listen?",
        ),
        (
            "ingst = {}",
            "f.toml:1: ingst: no such setting; did you mean ingest?",
        ),
        (
            "zzz = 1",
            (
                "f.toml:1: zzz: no such setting; known here: "
                "admin, buffer, ingest, log, shutdown_timeout, sinks"
            ),
        ),
        (
            '_env_file = "/etc/passwd"',
            (
                "f.toml:1: _env_file: no such setting; known here: "
                "admin, buffer, ingest, log, shutdown_timeout, sinks"
            ),
        ),
        (
            "max_event = 1",
            "f.toml:1: max_event: no such setting; did you mean ingest.max_event?",
        ),
        ("ingest = 5", "f.toml:1: ingest: must be a table"),
        (
            'shutdown_timeout = "5 parsecs"',
            "f.toml:1: shutdown_timeout: write a duration with its unit, like 250ms, 2s, 1h or 7d",
        ),
        (
            'ingest.header_timeout = "-1s"',
            "f.toml:1: ingest.header_timeout: must be at least 0s",
        ),
        (
            'ingest.max_body = "1 furlong"',
            "f.toml:1: ingest.max_body: must be a size with its unit, like 64KiB or 2GiB",
        ),
        ('buffer.max_bytes = "64KiB"', "f.toml:1: buffer.max_bytes: must be at least 1MiB"),
        (
            "ingest.max_connections = 0",
            "f.toml:1: ingest.max_connections: must be at least 1",
        ),
        (
            'ingest.max_connections = "many"',
            "f.toml:1: ingest.max_connections: must be a whole number",
        ),
        (
            "ingest.max_connections = 1.5",
            "f.toml:1: ingest.max_connections: must be a whole number",
        ),
        ("ingest.listen = 4680", "f.toml:1: ingest.listen: must be text, in quotes"),
        (
            'ingest.listen = "4680"',
            (
                "f.toml:1: ingest.listen: must be an address and a port, like 127.0.0.1:4680 or "
                '[::1]:4680, or "" to turn it off'
            ),
        ),
        (
            'admin.listen = "127.0.0.1:99999"',
            (
                "f.toml:1: admin.listen: must be an address and a port, like 127.0.0.1:4680 or "
                '[::1]:4680, or "" to turn it off'
            ),
        ),
        (
            'ingest.listen = "127.0.0.1:4681"',
            "admin.listen: is ingest.listen already; take another port",
        ),
        (
            '[ingest]\nlisten = ""',
            "f.toml:1: ingest: nothing listens; write listen or socket, or both",
        ),
        (
            f'ingest.socket = "/{"s" * 107}"',
            "f.toml:1: ingest.socket: is longer than a Unix socket's 107 bytes",
        ),
        (
            'ingest.max_event = "17MiB"',
            "f.toml:1: ingest.max_event: must not be larger than ingest.max_body",
        ),
        (
            'ingest.socket_mode = "rw"',
            (
                "f.toml:1: ingest.socket_mode: does not look right; "
                "Permissions of the Unix socket, in octal."
            ),
        ),
        (
            'ingest.unrouted = "keep"',
            'f.toml:1: ingest.unrouted: must be "reject" or "store"',
        ),
        (
            'ingest.allowed_hosts = "a"',
            'f.toml:1: ingest.allowed_hosts: must be a list, like ["a", "b"]',
        ),
        (
            "ingest.allowed_hosts = [\n  'a',\n  5,\n]",
            "f.toml:1: ingest.allowed_hosts.1: must be text, in quotes",
        ),
        (
            'buffer.max_age = "long"',
            (
                'f.toml:1: buffer.max_age: write a duration like 12h or 7d, or "" to keep until '
                "delivered"
            ),
        ),
        (
            'buffer.durability = "never"',
            'f.toml:1: buffer.durability: must be "fsync" or "os"',
        ),
        (
            "sinks = 1",
            "f.toml:1: sinks: must be tables, one a sink, like [sinks.sales]",
        ),
        (
            "sinks.out = 1",
            'f.toml:1: sinks.out: must be a table with a type, like {type = "stdout"}',
        ),
        (
            "[sinks.out]",
            (
                'f.toml:1: sinks.out.type: is missing; write one of "file", "http", "powerbi", '
                '"stdout"'
            ),
        ),
        (
            '[sinks.out]\ntype = "stdot"',
            (
                'f.toml:2: sinks.out.type: no such type of sink; did you mean "stdout"? known are '
                '"file", "http", "powerbi", "stdout"'
            ),
        ),
        (
            "[sinks.out]\ntype = 5",
            'f.toml:2: sinks.out.type: must be one of "file", "http", "powerbi", "stdout"',
        ),
        (
            '[sinks."a b"]\ntype = "stdout"',
            "f.toml:1: sinks.a b: a sink's name is 1 to 64 of A-Z a-z 0-9 _ -",
        ),
        (
            f'[sinks.{"x" * 65}]\ntype = "stdout"',
            f"f.toml:1: sinks.{'x' * 65}: a sink's name is 1 to 64 of A-Z a-z 0-9 _ -",
        ),
        (
            '[sinks.a]\ntype = "stdout"\n[sinks.A]\ntype = "stdout"',
            "f.toml:3: sinks.A: differs from sinks.a only in case; rename one",
        ),
        (
            '[sinks.out]\ntype = "stdout"\nstrems = []',
            "f.toml:3: sinks.out.strems: no such setting; did you mean sinks.out.streams?",
        ),
        (
            '[sinks.out]\ntype = "file"\npath = "/x"\nrotate_byts = 1',
            (
                "f.toml:4: sinks.out.rotate_byts: no such setting; "
                "did you mean sinks.out.rotate_bytes?"
            ),
        ),
        (
            '[sinks.out]\ntype = "stdout"\nstreams = []',
            "f.toml:3: sinks.out.streams: must have 1 or more entries",
        ),
        (
            '[sinks.out]\ntype = "stdout"\n\n[sinks.out.batch]\nlingr = "1s"',
            (
                "f.toml:5: sinks.out.batch.lingr: no such setting; "
                "did you mean sinks.out.batch.linger?"
            ),
        ),
        (
            '[sinks.p]\ntype = "powerbi"',
            "f.toml:1: sinks.p: set `push_url`, or `dataset_id`, `table` and `auth`",
        ),
        (
            (
                f'[sinks.p]\ntype = "powerbi"\npush_url = "{SECRET}"\n'
                "columns = {A = {from = 'a', type = 'int'}}"
            ),
            (
                'f.toml:4: sinks.p.columns.A.type: must be "Int64", "Double", "Boolean", "Datetime"'
                ', "String" or "Decimal"'
            ),
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, text: str, line: str):
    assert mistakes(tmp_path, text) == [line]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "INGEST__LISEN",
            "x",
            (
                "FOREBAY_INGEST__LISEN: ingest.lisen: no such setting; "
                "did you mean FOREBAY_INGEST__LISTEN?"
            ),
        ),
        (
            "INGST__LISTEN",
            "x",
            (
                "FOREBAY_INGST__LISTEN: ingst.listen: no such setting; "
                "did you mean FOREBAY_INGEST__LISTEN?"
            ),
        ),
        (
            "LISTEN",
            "x",
            (
                "FOREBAY_LISTEN: listen: no such setting; "
                "did you mean FOREBAY_INGEST__LISTEN or FOREBAY_ADMIN__LISTEN?"
            ),
        ),
        (
            "PORT",
            "4680",
            (
                "FOREBAY_PORT: port: no such setting; known here: "
                "admin, buffer, ingest, log, shutdown_timeout, sinks"
            ),
        ),
        ("INGEST", "x", 'FOREBAY_INGEST: ingest: must be a table, as JSON, like {"key": "value"}'),
        ("INGEST", "{x", "FOREBAY_INGEST: ingest: is not valid JSON"),
        (
            "INGEST__MAX_BODY",
            "big",
            (
                "FOREBAY_INGEST__MAX_BODY: ingest.max_body: must be a size with its unit, like "
                "64KiB or 2GiB"
            ),
        ),
        (
            "SINKS__P__PUSH_URL",
            SECRET,
            (
                'FOREBAY_SINKS__P__PUSH_URL: sinks.p.type: is missing; write one of "file", "http"'
                ', "powerbi", "stdout"'
            ),
        ),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(
    tmp_path: Path, name: str, value: str, line: str
):
    assert mistakes(tmp_path, "", **{name: value}) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\na = ", "f.toml:2:5: is not TOML: Invalid value (at end of document)"),
        ("\n\na b", "f.toml:3:3: is not TOML: Expected '=' after a key in a key/value pair"),
        ('a = 1\na = 2\n"', "f.toml:2:6: is not TOML: Cannot overwrite a value"),
    ],
)
def test_broken_toml_names_line_and_column(tmp_path: Path, text: str, line: str):
    assert mistakes(tmp_path, text) == [line]


def test_toml_that_ends_too_early_is_one_line(tmp_path: Path):
    (line,) = mistakes(tmp_path, 'a = """x')
    assert line.startswith("f.toml:1:9: is not TOML: ")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path):
    missing = tmp_path / "missing.toml"
    with pytest.raises(SettingsError) as caught:
        load(missing, {})
    assert caught.value.lines == [f"{missing}: cannot be read: No such file or directory"]
    with pytest.raises(SettingsError) as caught:
        load(None, {"FOREBAY_CONFIG": str(tmp_path)})
    assert caught.value.lines == [f"{tmp_path}: cannot be read: Is a directory"]


def test_a_file_in_another_encoding_is_one_line(tmp_path: Path):
    file = tmp_path / "f.toml"
    file.write_bytes(b'a = "\xe4"')
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert caught.value.lines == [f"{file}: is not UTF-8 text"]


def test_all_mistakes_of_all_sources_are_reported_at_once_in_order(tmp_path: Path):
    text = 'shutdown_timeout = "x"\n[ingest]\nlisten = "y"\n[sinks.a]\ntype = "stdot"\ntimeout = 0'
    assert [line.split(": ")[:2] for line in mistakes(tmp_path, text, ADMIN__LISTN="z")] == [
        ["f.toml:1", "shutdown_timeout"],
        ["f.toml:3", "ingest.listen"],
        ["f.toml:5", "sinks.a.type"],
        ["f.toml:6", "sinks.a.timeout"],
        ["FOREBAY_ADMIN__LISTN", "admin.listn"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        # The wrong key, the wrong table, the wrong type, and the right place of a wrong value.
        f'[sinks.p]\ntype = "powerbi"\npush_ulr = "{SECRET}"',
        f'[sinks.p]\ntype = "stdout"\npush_url = "{SECRET}"',
        f'[sinks.p]\ntype = "powerbi"\nauth = "{SECRET}"',
        f'[sinks.p]\ntype = "powerbi"\npush_url = ["{SECRET}"]',
        f'[sinks.p]\ntype = "http"\nurl = " not {SECRET}"',
        f'[sinks.p]\ntype = "{SECRET}"',
        f'[ingest]\nlisten = "{SECRET}"\nsocket_mode = "{SECRET}"\nunrouted = "{SECRET}"',
        f'[buffer]\nmax_bytes = "{SECRET}"\nmax_age = "{SECRET}"\ndurability = "{SECRET}"',
        f'[ingest]\ntoken = "{SECRET}"\nmax_event = "{SECRET}"',
        f'a = "{SECRET}',
        f"a = {SECRET}",
    ],
)
def test_no_mistake_shows_a_value(tmp_path: Path, text: str):
    shown = "\n".join(mistakes(tmp_path, text))
    assert "hush" not in shown
    assert "powerbi.com" not in shown


def test_a_secret_that_a_message_repeats_is_masked(tmp_path: Path):
    # The name of a type is repeated nowhere, but a key is: here one that is a secret elsewhere.
    text = '[ingest]\ntoken = "hush-hush"\nhush-hush = 1'
    assert mistakes(tmp_path, text) == [
        (
            "f.toml:3: ingest.***: no such setting; known here: allowed_hosts, allowed_origins, "
            "body_timeout, dedup_window, header_timeout, idle_timeout, listen, max_body, "
            "max_connections, max_event, socket, socket_mode, token, unrouted"
        )
    ]


def test_an_error_has_no_cause_that_a_traceback_would_show(tmp_path: Path):
    file = tmp_path / "f.toml"
    file.write_text(f'[sinks.p]\ntype = "powerbi"\npush_url = ["{SECRET}"]')
    with pytest.raises(SettingsError) as caught:
        load(file, {})
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
