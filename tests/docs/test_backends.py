"""The examples of docs/backends.md print what it shows."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import REPOSITORY
from support.server import Server, available_kinds

PAGE = REPOSITORY / "docs" / "backends.md"
TIMEOUT_S = 120.0


@pytest.mark.slow
def test_the_examples_of_the_backends_go_as_shown(tmp_path: Path) -> None:
    """On one kind of server, in a process of their own: what they import is large."""
    with contextlib.closing(Server(available_kinds()[0], tmp_path / "server").start()) as server:
        text = PAGE.read_text()
        assert "port=6379" in text
        (tmp_path / PAGE.name).write_text(text.replace("port=6379", f"port={server.port}"))
        done = subprocess.run(
            [sys.executable, "-m", "doctest", PAGE.name],
            cwd=tmp_path,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
