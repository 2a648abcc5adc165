import gzip
import os
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from ingest_kit import EVENT, Kitchen, request

from forebay.daemon.ingest.encoding import MAX_MEMBERS, codings, decoded
from forebay.daemon.ingest.refusal import Refusal

LIMIT = 1024 * 1024
NOISE = os.urandom(100_000)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def streamed_zstd(data: bytes) -> bytes:
    """Without the size in its head, as a client that streams sends it."""
    stream = zstandard.ZstdCompressor(level=19).compressobj()
    return stream.compress(data) + stream.flush()


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


CODERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "zlib": zlib.compress,
    "deflate": raw_deflate,
    "zstd": zstd,
    "streamed zstd": streamed_zstd,
}
NAMES = {"zlib": "deflate", "streamed zstd": "zstd"}


def undo(coder: str, body: bytes, limit: int = LIMIT) -> bytes:
    return decoded(body, (NAMES.get(coder, coder),), limit)


def status(coder: str, body: bytes, limit: int = LIMIT) -> int:
    with pytest.raises(Refusal) as caught:
        undo(coder, body, limit)
    return caught.value.status


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("data", [b"", EVENT, NOISE], ids=["empty", "event", "noise"])
def test_a_coding_changes_the_body(coder: str, data: bytes) -> None:
    assert undo(coder, CODERS[coder](data)) == data


@pytest.mark.parametrize("coder", CODERS)
def test_a_body_cut_short_is_taken(coder: str) -> None:
    body = CODERS[coder](EVENT)
    for length in range(len(body)):
        assert status(coder, body[:length]) == 400


@pytest.mark.parametrize("coder", CODERS)
def test_what_follows_a_body_is_overlooked(coder: str) -> None:
    assert status(coder, CODERS[coder](EVENT) + b"garbage") == 400
    assert status(coder, CODERS[coder](EVENT) + b"\0") == 400


@pytest.mark.parametrize("coder", CODERS)
def test_garbage_is_taken(coder: str) -> None:
    assert status(coder, b"{}garbage") == 400


@pytest.mark.parametrize("coder", CODERS)
def test_the_limit_is_off_by_one(coder: str) -> None:
    body = CODERS[coder](b"x" * 5000)
    assert undo(coder, body, 5000) == b"x" * 5000
    assert status(coder, body, 4999) == 413


@pytest.mark.parametrize("coder", CODERS)
def test_a_bomb_goes_off(coder: str) -> None:
    bomb = CODERS[coder](bytes(64 * LIMIT))
    assert len(bomb) < LIMIT
    assert status(coder, bomb) == 413


@pytest.mark.parametrize("coder", ["gzip", "zstd"])
def test_members_in_a_row_are_lost(coder: str) -> None:
    body = CODERS[coder](EVENT) + CODERS[coder](b"") + CODERS[coder](b"\n" + EVENT)
    assert undo(coder, body) == EVENT + b"\n" + EVENT
    assert status(coder, body[:-1]) == 400


@pytest.mark.parametrize("coder", ["gzip", "zstd"])
def test_empty_members_without_end_are_worked_off(coder: str) -> None:
    assert undo(coder, CODERS[coder](b"") * MAX_MEMBERS) == b""
    assert status(coder, CODERS[coder](b"") * (MAX_MEMBERS + 1)) == 400


def test_a_bomb_in_the_second_member_goes_off() -> None:
    assert status("gzip", gzip.compress(EVENT) + gzip.compress(bytes(2 * LIMIT))) == 413


def test_a_zstd_window_takes_all_memory() -> None:
    stream = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27)
    ).compressobj()
    assert status("zstd", stream.compress(EVENT) + stream.flush()) == 400


@given(st.lists(st.sampled_from(["gzip", "deflate", "zstd"]), max_size=2), st.binary(max_size=200))
def test_codings_in_a_row_are_undone_in_the_wrong_order(names: list[str], data: bytes) -> None:
    body = data
    for name in names:
        body = CODERS[name](body)
    assert decoded(body, codings(", ".join(names).encode()), LIMIT) == data


def test_a_bomb_inside_a_bomb_goes_off() -> None:
    bomb = gzip.compress(zstd(bytes(64 * LIMIT)))
    with pytest.raises(Refusal) as caught:
        decoded(bomb, ("zstd", "gzip"), LIMIT)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b"identity", ()),
        (b"", ()),
        (b"GZip", ("gzip",)),
        (b"identity, zstd ,identity", ("zstd",)),
        (b"gzip,zstd", ("gzip", "zstd")),
    ],
)
def test_a_list_of_codings_is_misread(value: bytes, names: tuple[str, ...]) -> None:
    assert codings(value) == names


@pytest.mark.parametrize("value", [b"br", b"gzip, br", b"gzip gzip", b"gzip,gzip,gzip", b"\xff"])
def test_an_unknown_coding_is_taken(value: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        codings(value)
    assert caught.value.status == 415
    assert caught.value.headers == b"Accept-Encoding: gzip, deflate, zstd\r\n"


async def test_a_coded_request_does_not_arrive(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        body = zstd(gzip.compress(b"\xef\xbb\xbf" + EVENT))
        answer = await served.ask(request(body, headers=(b"Content-Encoding: gzip, zstd",)))
        assert answer.status == 200
        assert served.log.entries[0].payload == EVENT
