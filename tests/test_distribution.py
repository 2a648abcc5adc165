"""The distribution holds every package and data file: an editable install would not notice."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "setuptools"
]


def test_every_folder_with_code_is_a_listed_package():
    folders = {
        file.parent.relative_to(ROOT)
        for top in SETUPTOOLS["package-dir"].values()
        for file in (ROOT / top).rglob("*.py")
    }
    assert sorted(SETUPTOOLS["packages"]) == sorted(
        ".".join(("forebay", *folder.parts)) for folder in folders
    )


def test_every_file_that_is_no_code_is_listed_package_data():
    listed = {
        file
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for file in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    found = {
        file
        for top in SETUPTOOLS["package-dir"].values()
        for file in (ROOT / top).rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    }
    assert found == listed
