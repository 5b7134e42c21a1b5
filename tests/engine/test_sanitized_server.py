"""A part of the tests again, on servers that run the module built with the sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import sanitized
from support.paths import REPOSITORY

TIMEOUT_S = 900.0

AGAIN = [
    "tests/ai/test_malformed_calls.py",
    "tests/ai/test_models.py::test_a_large_model_that_comes_behind_something_larger",
    "tests/ai/test_tensors.py",
    "tests/badinput",
    "tests/chaos/test_restart.py",
    "tests/conformance",
]
# One of each kind of recorded case is enough here: what counts is that memory is handled well on every path.
ONLY = "not (override-with or fuzz)"


@pytest.mark.slow
@pytest.mark.skipif(sanitized.clang() is None, reason="clang is not installed")
def test_the_sanitizers_find_nothing() -> None:
    folder = sanitized.build()
    environment = {
        **os.environ,
        "KEYMISS_SO": str(folder / "keymiss.so"),
        "KEYMISS_SERVERS": "redis",
        "KEYMISS_SANITIZED": "1",
    }
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [
        str(Path(sys.executable).with_name("pytest")),
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-k",
        ONLY,
        *AGAIN,
    ]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-12_000:]
