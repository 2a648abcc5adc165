"""What the README shows works as it stands."""

import re
import shlex
from pathlib import Path

from forebay.daemon.cli.main import COMMANDS
from forebay.daemon.settings import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_configuration_is_valid(tmp_path: Path):
    (block,) = blocks("toml")
    config = tmp_path / "forebay.toml"
    config.write_text(block, encoding="utf-8")
    assert sorted(load(config, {}).settings.sinks) == ["archive", "sales"]


def test_every_command_exists():
    commands = [
        shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()
    ]
    named = {words[1] for words in commands if words and words[0] == "forebay"}
    assert named <= set(COMMANDS)
    targets = {words[1] for words in commands if words and words[0] == "make"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_link_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
