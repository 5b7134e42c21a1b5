"""Clusters brought up by the command that users run, taken down whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import CommandLine, command_line


@pytest.fixture
def keymiss(server_kind: str, tmp_path: Path) -> Iterator[CommandLine]:
    """The command line, in an empty folder; what it brought up is gone after the test."""
    with command_line(server_kind, tmp_path) as started:
        yield started
