"""`forebay dead-letters` against a live admin plane and a real buffer."""

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from cli_kit import Done, environment, forebay
from letters_kit import EVENT, TOKEN, Plane, serving

from forebay.daemon.cli.main import main


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with serving(tmp_path) as plane:
        yield plane


@pytest.fixture
def file(plane: Plane, tmp_path: Path) -> Path:
    path = tmp_path / "forebay.toml"
    path.write_text(f'[admin]\nlisten = "{plane.address}"\ntoken = "{TOKEN}"\n')
    return path


async def letters(file: Path, *arguments: str | Path) -> Done:
    return await forebay("dead-letters", *arguments, "-c", file, env={"COLUMNS": "200"})


async def kept(plane: Plane) -> list[int]:
    return [letter.id for letter in await plane.kept()]


async def on_terminal(file: Path, arguments: Sequence[str], answer: bytes = b"") -> Done:
    """Standard input and error are a terminal, on which somebody types `answer`."""
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "forebay.daemon", "dead-letters", *arguments, "-c", str(file)),
        stdin=theirs,
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
        env=environment({"TERM": "xterm", "COLUMNS": "100"}),
    )
    os.close(theirs)
    read = asyncio.create_task(asyncio.to_thread(_read, ours))
    out, _ = await process.communicate()
    seen = await read
    os.close(ours)
    return Done(process.returncode or 0, out.decode(), seen.decode())


def _read(terminal: int) -> bytes:
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux says that nobody writes any more
            return seen
        if not piece:
            return seen
        seen += piece


# ── ls and show ──────────────────────────────────────────────────────────────────────────────────


async def test_ls_is_a_table_in_which_nothing_is_interpreted(plane: Plane, file: Path):
    await plane.bury("sales", EVENT, error="[red]no\x1b[31m", status=None)
    done = await letters(file, "ls")
    assert (done.status, done.err) == (0, "")
    heading, row = done.out.splitlines()
    assert heading.split()[:4] == ["id", "sink", "stream", "seq"]
    assert " ".join(row.split()) == "1 sales bookings 1 2023-11-14 22:14:20 2 [red]no [31m"
    assert "\x1b" not in done.out


async def test_ls_json_is_the_answer_itself(plane: Plane, file: Path):
    await plane.bury("sales", EVENT, EVENT)
    done = await letters(file, "ls", "--json", "--limit", "1")
    _, body = await plane.ask("GET", "/v1/dead-letters?limit=1")
    assert done == (0, body.decode() + "\n", "")
    assert EVENT.decode() in done.out


async def test_ls_says_with_which_words_to_see_more(plane: Plane, file: Path):
    await plane.bury("sales", *[b"{}"] * 5)
    await plane.bury("other", *[b"{}"] * 5)
    seen: list[int] = []
    words = ["ls", "--sink", "other", "--limit", "2"]
    while words:
        table, _, more = (await letters(file, *words)).out.partition("\nmore with: ")
        seen += [int(row.split()[0]) for row in table.splitlines()[1:]]
        words = more.split()[2:]
    assert seen == [6, 7, 8, 9, 10]


async def test_no_dead_letters_is_fine(file: Path):
    assert await letters(file, "ls") == (0, "no dead letters\n", "")


async def test_a_mistyped_sink_is_one_line_with_the_known_ones(file: Path):
    done = await letters(file, "ls", "--sink", "slaes")
    assert (done.status, done.out) == (1, "")
    assert "there are: gone, other, sales" in done.err


async def test_show_has_the_event_as_it_came(plane: Plane, file: Path):
    (id_,) = await plane.bury("sales", EVENT, attributes={"source": "/desk"})
    done = await letters(file, "show", str(id_))
    assert done.status == 0
    fields = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert fields["event"] == EVENT.decode()
    assert (fields["error"], fields["status"]) == ("Bad Request", "400")
    assert fields["attribute"] == "source: /desk"
    done = await letters(file, "show", str(id_), "--json")
    _, body = await plane.ask("GET", f"/v1/dead-letters/{id_}")
    assert done == (0, body.decode() + "\n", "")


async def test_show_of_none_is_one_line(file: Path):
    done = await letters(file, "show", "7")
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert "no dead letter 7" in done.err


# ── replay and purge ─────────────────────────────────────────────────────────────────────────────


async def test_replay_by_ids(plane: Plane, file: Path):
    made = await plane.bury("sales", *[b"{}"] * 4)
    words = ["--id", str(made[0]), str(made[1]), "--id", str(made[3])]
    assert await letters(file, "replay", "--sink", "sales", *words) == (
        0, "sales: 3 replayed\n", "",
    )  # fmt: skip
    assert await plane.in_line() == [made[0], made[1], made[3]]


async def test_ids_that_are_not_there_are_not_passed_over_in_silence(plane: Plane, file: Path):
    (mine,) = await plane.bury("sales", b"{}")
    (foreign,) = await plane.bury("other", b"{}")
    words = ["--sink", "sales", "--id", str(mine), str(foreign), "99", "99"]
    done = await letters(file, "purge", *words)
    assert (done.status, done.out) == (1, "sales: 1 purged\n")
    assert done.err.startswith("forebay: 2 of these ids are no dead letters of this sink now")
    assert await kept(plane) == [foreign]


async def test_replay_all_goes_through_every_page_once(plane: Plane, file: Path):
    await plane.bury("sales", *[b"{}"] * 2300)
    await plane.bury("other", b"{}")
    done = await letters(file, "replay", "--sink", "sales", "--all", "--json")
    assert (done.status, json.loads(done.out), done.err) == (0, {"replayed": 2300}, "")
    assert plane.store.sink("sales").replayed == 2300
    assert plane.store.sink("other").replayed == 0


async def test_replay_all_of_a_stream(plane: Plane, file: Path):
    kept_one = await plane.bury("sales", b"{}", stream="bookings")
    await plane.bury("sales", b"{}", stream="refunds")
    words = ["--sink", "sales", "--stream", "refunds", "--all"]
    assert (await letters(file, "replay", *words)).out == "sales: 1 replayed\n"
    assert await kept(plane) == kept_one


async def test_replay_to_a_sink_that_left_the_file_is_refused(plane: Plane, file: Path):
    made = await plane.bury("gone", b"{}")
    done = await letters(file, "replay", "--sink", "gone", "--all")
    assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert "not configured now" in done.err
    assert await kept(plane) == made


async def test_purge_all_is_not_done_where_nobody_can_be_asked(plane: Plane, file: Path):
    made = await plane.bury("sales", b"{}", b"{}")
    done = await letters(file, "purge", "--sink", "sales", "--all")
    assert (done.status, done.out) == (2, "")
    assert "--yes" in done.err
    assert await kept(plane) == made
    done = await letters(file, "purge", "--sink", "sales", "--all", "--yes")
    assert done == (0, "sales: 2 purged\n", "")
    assert await kept(plane) == []


@pytest.mark.parametrize("answer", [b"\n", b"yess\n", b"\x04"])
async def test_purge_all_takes_nothing_but_yes_for_an_answer(
    plane: Plane, file: Path, answer: bytes
):
    made = await plane.bury("sales", b"{}", b"{}")
    words = ["purge", "--sink", "sales", "--all"]
    done = await on_terminal(file, words, answer)
    assert (done.status, done.out) == (1, "")
    assert "Delete 2 dead letters of sales for good? [y/N]" in done.err
    assert "nothing was purged" in done.err
    assert await kept(plane) == made


async def test_purge_all_is_done_when_the_answer_is_yes(plane: Plane, file: Path):
    await plane.bury("sales", b"{}", b"{}")
    done = await on_terminal(file, ["purge", "--sink", "sales", "--all"], b"y\n")
    assert (done.status, done.out) == (0, "sales: 2 purged\n")
    assert await kept(plane) == []


async def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(plane: Plane, file: Path):
    await plane.bury("sales", *[b"{}"] * 5)
    done = await on_terminal(file, ["replay", "--sink", "sales", "--all"])
    assert (done.status, done.out) == (0, "sales: 5 replayed\n")
    assert "5/5" in done.err
    await plane.bury("sales", b"{}")
    assert (await letters(file, "replay", "--sink", "sales", "--all")).err == ""


@pytest.mark.parametrize(
    "words",
    [
        ["replay", "--all"],
        ["replay", "--sink", "sales"],
        ["replay", "--sink", "sales", "--all", "--id", "1"],
        ["purge", "--sink", "sales", "--id"],
        ["purge", "--sink", "sales", "--id", "one"],
        ["ls", "--limit", "0"],
        ["ls", "--limit", "1001"],
        ["show"],
        ["bury"],
        [],
    ],
)
def test_what_is_not_plain_is_wrong_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["dead-letters", *words])
    assert end.value.code == 2
    assert capsys.readouterr().out == ""


# ── export ───────────────────────────────────────────────────────────────────────────────────────


async def test_export_has_every_letter_on_a_line_as_the_api_gives_it(plane: Plane, file: Path):
    await plane.bury("sales", EVENT, attributes={"id": "7"})
    await plane.bury("other", *[b"{}"] * 1500)
    done = await letters(file, "export")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 1502))
    assert EVENT.decode() in lines[0]
    _, body = await plane.ask("GET", "/v1/dead-letters/1")
    assert lines[0] == body.decode()


async def test_export_of_a_part_to_a_file(plane: Plane, file: Path, tmp_path: Path):
    await plane.bury("sales", b'{"n":1}', stream="bookings")
    await plane.bury("sales", EVENT, stream="refunds")
    target = tmp_path / "letters.ndjson"
    words = ["export", "--sink", "sales", "--stream", "refunds", target]
    assert await letters(file, *words) == (0, f"{target}: 1 dead letter\n", "")
    (line,) = target.read_bytes().splitlines()
    assert EVENT in line


async def test_an_earlier_export_is_not_written_over(plane: Plane, file: Path, tmp_path: Path):
    await plane.bury("sales", b"{}")
    target = tmp_path / "letters.ndjson"
    target.write_text("what a purge left over\n")
    done = await letters(file, "export", target)
    assert (done.status, len(done.err.splitlines())) == (1, 1)
    assert target.read_text() == "what a purge left over\n"


async def test_an_export_that_fails_leaves_no_half_of_a_file(file: Path, tmp_path: Path):
    target = tmp_path / "letters.ndjson"
    done = await letters(file, "export", "--sink", "slaes", target)
    assert (done.status, target.exists()) == (1, False)
    done = await letters(file, "export", tmp_path / "no" / "letters.ndjson")
    assert (done.status, len(done.err.splitlines())) == (1, 1)


async def test_a_daemon_that_is_not_there_is_one_line():
    for words in (
        ["ls"],
        ["show", "1"],
        ["export"],
        ["replay", "--sink", "s", "--all"],
        ["purge", "--sink", "s", "--id", "1"],
    ):
        nowhere = {"FOREBAY_ADMIN__LISTEN": "127.0.0.1:1"}
        done = await forebay("dead-letters", *words, env=nowhere)
        assert (done.status, done.out, len(done.err.splitlines())) == (1, "", 1)
        assert "no answer from 127.0.0.1:1" in done.err


async def test_a_wrong_token_is_told_and_not_shown(file: Path):
    wrong = {"FOREBAY_ADMIN__TOKEN": "wrong-token"}
    done = await forebay("dead-letters", "ls", "-c", file, env=wrong)
    assert (done.status, "wrong-token" in done.err) == (1, False)
    assert "send the token" in done.err
