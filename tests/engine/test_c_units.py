"""The engine's own unit tests, in C, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import subprocess

import pytest
from support import sanitized
from support.paths import REPOSITORY

TIMEOUT_S = 120.0

SOURCES = sorted((REPOSITORY / "engine" / "tests").glob("test_*.c"))


@pytest.mark.skipif(sanitized.clang() is None, reason="clang is not installed")
@pytest.mark.parametrize("name", [source.stem for source in SOURCES])
def test_unit(name: str) -> None:
    program = sanitized.build() / "engine" / "tests" / name
    environment = {**os.environ, **sanitized.TEST_OPTIONS}
    done = subprocess.run(
        [program, REPOSITORY / "tests" / "frames"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
