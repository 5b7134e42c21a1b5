"""Clusters brought up by the command that users run, taken down whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.ports import ports
from support.server import KINDS

DEADLINE_S = 180.0
MOST_SERVERS = 6


@dataclass(frozen=True)
class CommandLine:
    """`keymiss` in a folder of its own, with ports of its own."""

    folder: Path
    port: int
    server: str

    def __call__(self, *arguments: str | Path, status: int = 0) -> str:
        """Run `keymiss ARGUMENTS`; its output, both streams. Fails where it does not exit with `status`."""
        done = subprocess.run(
            [Path(sys.executable).with_name("keymiss"), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def up(self, *arguments: str) -> str:
        return self("up", "--port", str(self.port), "--server", self.server, *arguments)

    def status(self, exit_status: int = 0) -> dict[str, Any]:
        found = json.loads(self("status", "--json", status=exit_status))
        assert isinstance(found, dict)
        return found


@pytest.fixture
def keymiss(server_kind: str, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line, in an empty folder; what it brought up is gone after the test."""
    command_line = CommandLine(tmp_path, ports.take_run(MOST_SERVERS), KINDS[server_kind])
    yield command_line
    command_line("down", "--delete")
    for port in range(command_line.port, command_line.port + MOST_SERVERS):
        ports.release(port)
