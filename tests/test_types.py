"""The package ships its types: mypy finds no error in them, with the settings in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.nightly
@pytest.mark.parametrize("python", ["3.10", "3.12"])  # NumPy 2.3's types are of 3.11 and later
def test_mypy_finds_no_error(python):
    pytest.importorskip("mypy", reason="the extra `lint` is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-version", python, "tfrs_distill"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
