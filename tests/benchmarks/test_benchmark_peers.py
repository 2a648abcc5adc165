import tomllib
from pathlib import Path

from benchmarks.peers import PEERS


def test_a_peer_is_pointed_at_its_own_port_sink_and_files(tmp_path: Path):
    for peer in PEERS:
        written = peer.configure(tmp_path, port=4711, sink=4712).read_text(encoding="utf-8")
        assert "4711" in written
        assert "4712" in written
        assert str(tmp_path) in written


def test_vectors_configuration_is_toml(tmp_path: Path):
    (vector,) = (peer for peer in PEERS if peer.name == "vector")
    written = tomllib.loads(vector.configure(tmp_path, 4711, 4712).read_text(encoding="utf-8"))
    assert written["sources"]["in"]["address"] == "127.0.0.1:4711"
    assert written["sinks"]["out"]["uri"] == "http://127.0.0.1:4712/"
    assert written["sinks"]["out"]["buffer"]["type"] == "disk"
    assert written["acknowledgements"]["enabled"] is True
