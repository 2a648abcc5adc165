"""Where settings come from, and which source wins."""

from datetime import timedelta
from pathlib import Path

import pytest
from permissions import bound_by_permissions, public_directory

from forebay.daemon.settings import SettingsError, find, load, parse_address, secrets

FILE = """
[ingest]
listen = "127.0.0.1:5001"
max_connections = 7

[sinks.Sales]
type = "http"
url = "https://example.com/hook?key=file-secret-0001"
streams = ["a"]

[sinks.Sales.batch]
max_events = 11
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "forebay.toml"
    path.write_text(FILE)
    return path


def test_nothing_at_all_gives_the_defaults():
    loaded = load(None, {})
    assert loaded.settings.ingest.listen == "127.0.0.1:4680"
    assert loaded.settings.sinks == {}
    assert loaded.origins == {}


def test_environment_wins_over_credentials_over_file_over_defaults(file: Path, tmp_path: Path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "ingest__max_connections").write_text("8\n")
    (credentials / "ingest__token").write_text("from-credential\n")
    environ = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        "FOREBAY_INGEST__TOKEN": "from-environment",
    }
    settings, origins, read = load(file, environ)
    assert read == file
    assert settings.ingest.listen == "127.0.0.1:5001"
    assert settings.ingest.max_connections == 8
    assert settings.ingest.token.get_secret_value() == "from-environment"
    assert settings.ingest.idle_timeout == timedelta(seconds=75)
    assert origins["ingest.listen"] == f"file {file}:3"
    assert origins["ingest.max_connections"] == (
        f"credential {credentials / 'ingest__max_connections'}"
    )
    assert origins["ingest.token"] == "environment FOREBAY_INGEST__TOKEN"
    assert "ingest.idle_timeout" not in origins


def test_a_variable_reaches_a_sink_of_the_file_whatever_its_case(file: Path):
    environ = {
        "FOREBAY_SINKS__SALES__BATCH__LINGER": "250ms",
        "FOREBAY_SINKS__SALES__URL": "https://example.com/other",
    }
    sinks = load(file, environ).settings.sinks
    assert list(sinks) == ["Sales"]
    assert sinks["Sales"].delivery.batch.linger == timedelta(milliseconds=250)
    assert sinks["Sales"].delivery.batch.max_events == 11


def test_a_variable_reaches_a_sink_with_a_hyphen(tmp_path: Path):
    file = tmp_path / "f.toml"
    file.write_text('[sinks.my-files]\ntype = "file"\n')
    loaded = load(file, {"FOREBAY_SINKS__MY_FILES__PATH": "/tmp/x.ndjson"})  # noqa: S108
    assert list(loaded.settings.sinks) == ["my-files"]


def test_a_sink_can_come_from_variables_alone():
    environ = {
        "FOREBAY_SINKS__OUT__TYPE": "stdout",
        "FOREBAY_SINKS__OUT__STREAMS": "orders.*, bookings",
    }
    sink = load(None, environ).settings.sinks["out"]
    assert sink.type == "stdout"
    assert sink.delivery.streams == ("orders.*", "bookings")


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a,b", ("a", "b")),
        (" a , b ", ("a", "b")),
        ('["a,b", "c"]', ("a,b", "c")),
        ("", ()),
        ("one", ("one",)),
    ],
)
def test_a_list_in_a_variable_is_read(text: str, hosts: tuple[str, ...]):
    settings = load(None, {"FOREBAY_INGEST__ALLOWED_HOSTS": text}).settings
    assert settings.ingest.allowed_hosts == hosts


@pytest.mark.parametrize("choice", ["store", "reject"])
def test_a_choice_in_a_variable_is_not_taken_for_a_list(choice: str):
    settings = load(None, {"FOREBAY_INGEST__UNROUTED": choice}).settings
    assert settings.ingest.unrouted == choice


def test_a_table_in_a_variable_is_merged_and_its_parts_win(file: Path):
    environ = {
        "FOREBAY_SINKS__SALES__BATCH": '{"linger": "3s", "max_bytes": "1MiB"}',
        "FOREBAY_SINKS__SALES__BATCH__LINGER": "4s",
        "FOREBAY_SINKS__SALES__HEADERS": '{"X-Key": "abc"}',
    }
    loaded = load(file, environ)
    batch = loaded.settings.sinks["Sales"].delivery.batch
    assert (batch.max_events, batch.max_bytes, batch.linger) == (11, 1 << 20, timedelta(seconds=4))
    assert loaded.origins["sinks.Sales.batch.linger"] == (
        "environment FOREBAY_SINKS__SALES__BATCH__LINGER"
    )
    assert loaded.origins["sinks.Sales.headers.X-Key"] == (
        "environment FOREBAY_SINKS__SALES__HEADERS"
    )


def test_a_type_from_the_environment_decides_how_the_other_texts_are_read(tmp_path: Path):
    environ = {
        "FOREBAY_SINKS__S__COLUMNS": '{"Id": "booking_id"}',
        "FOREBAY_SINKS__S__PUSH_URL": "https://example.com/push?key=abc",
        "FOREBAY_SINKS__S__TYPE": "powerbi",
    }
    options = load(None, environ).settings.sinks["s"].options
    assert "Id" in options.model_dump()["columns"]


def test_the_variable_of_the_crash_points_is_no_setting():
    assert load(None, {"FOREBAY_CRASH_AT": "commit.begin"}).settings == load(None, {}).settings


def test_kubernetes_service_links_do_not_stop_the_start():
    environ = {
        "FOREBAY_SERVICE_HOST": "10.0.0.1",
        "FOREBAY_SERVICE_PORT": "4680",
        "FOREBAY_SERVICE_PORT_INGEST": "4680",
        "FOREBAY_PORT": "tcp://10.0.0.1:4680",
        "FOREBAY_PORT_4680_TCP": "tcp://10.0.0.1:4680",
        "FOREBAY_PORT_4680_TCP_ADDR": "10.0.0.1",
        "FOREBAY_ADMIN_SERVICE_HOST": "10.0.0.2",
    }
    assert load(None, environ).origins == {}


def test_credentials_of_others_are_not_opened(tmp_path: Path):
    (tmp_path / "database_password").write_bytes(b"\xff\xfe")
    (tmp_path / "other__thing").write_bytes(b"\xff\xfe")
    (tmp_path / "shutdown_timeout").write_text("not ours without two underscores")
    assert load(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).origins == {}


def test_only_one_newline_is_taken_off_a_credential(tmp_path: Path):
    (tmp_path / "admin__token").write_bytes(b" token \r\n")
    settings = load(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).settings
    assert settings.admin.token.get_secret_value() == " token "


def test_the_chosen_file_wins_over_the_variable_over_the_system(tmp_path: Path):
    environ = {"FOREBAY_CONFIG": "/from/variable.toml"}
    assert find(tmp_path, environ) == tmp_path
    assert find(None, environ) == Path("/from/variable.toml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path):
    file = tmp_path / "f.toml"
    file.write_bytes(b'\xef\xbb\xbfshutdown_timeout = "3s"\r\n')
    assert load(file, {}).settings.shutdown_timeout == timedelta(seconds=3)


def test_every_secret_is_known_for_masking(file: Path):
    environ = {
        "FOREBAY_INGEST__TOKEN": "token-1",
        "FOREBAY_ADMIN__TOKEN": "token-2",
        "FOREBAY_SINKS__SALES__HEADERS": '{"Authorization": "Bearer token-3"}',
    }
    known = secrets(load(file, environ).settings)
    url = "https://example.com/hook?key=file-secret-0001"
    assert {"token-1", "token-2", "Bearer token-3", url, "file-secret-0001"} <= known
    assert "" not in known


def test_a_secret_is_not_in_the_representation_of_the_settings(file: Path):
    settings = load(file, {"FOREBAY_INGEST__TOKEN": "token-1"}).settings
    assert "file-secret" not in repr(settings)
    assert "token-1" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4680", ("127.0.0.1", 4680)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_address_is_taken_apart(text: str, address: tuple[str, int]):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "4680", ":4680", "a:", "a:b", "a:65536", "::1:4680", "http://a:1", "a b:1"]
)
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(ValueError, match="must be an address and a port"):
        parse_address(text)


def test_a_credential_that_is_no_text_is_named(tmp_path: Path):
    (tmp_path / "admin__token").write_bytes(b"\xff")
    with pytest.raises(SettingsError) as caught:
        load(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert caught.value.lines == [f"{tmp_path / 'admin__token'}: is not UTF-8 text"]


def test_a_credential_without_permission_is_named():
    with public_directory() as directory:
        secret = directory / "admin__token"
        secret.touch(mode=0)
        with bound_by_permissions(), pytest.raises(SettingsError) as caught:
            load(None, {"CREDENTIALS_DIRECTORY": str(directory)})
    assert caught.value.lines == [f"{secret}: cannot be read: Permission denied"]


def test_a_credential_that_is_a_directory_is_named(tmp_path: Path):
    (tmp_path / "admin__token").mkdir()
    with pytest.raises(SettingsError) as caught:
        load(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert caught.value.lines == [f"{tmp_path / 'admin__token'}: cannot be read: Is a directory"]
