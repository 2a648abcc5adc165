"""docs/configuration.md is written from the models."""

import subprocess
import sys
from pathlib import Path

GENERATOR = Path(__file__).parents[1] / "docs" / "generate.py"


def test_the_document_is_current():
    done = subprocess.run(
        [sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
