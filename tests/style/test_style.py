"""The sources are as ruff and mypy, both strict, want them (see pyproject.toml)."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.paths import REPOSITORY

TIMEOUT_S = 300.0

CHECKS = {
    "ruff": ["ruff", "check", "."],
    "mypy": ["mypy", "keymiss", "bench", "cluster", "gears", "models"],
    "mypy of dashboards": ["mypy", "--python-version", "3.11", "grafana"],  # what they are made with needs it
}


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_nothing_is_found(check: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *check],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
