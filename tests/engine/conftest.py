"""Fixtures for tests of the module itself, with a worker that does what it is told (scripted_worker.py)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.scripted import Scripts
from support.server import Server

WORKER = Path(__file__).parent / "scripted_worker.py"


@pytest.fixture(scope="session")
def scripted_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A keymiss.python that starts the scripted worker, whichever worker the module asks for."""
    program = tmp_path_factory.mktemp("scripted") / "python"
    program.write_text(f"#!/bin/sh\nunset LD_PRELOAD\nexec {sys.executable} {WORKER}\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def scripted(make_server: Callable[..., Server], scripted_python: Path) -> Callable[..., Server]:
    """Makes servers whose functions worker is the scripted one: scripted(appendonly="yes")."""

    def make(**settings: object) -> Server:
        lines = {name.replace("__", ".").replace("_", "-"): value for name, value in settings.items()}
        return make_server(settings={"keymiss.python": scripted_python, **lines})

    return make


@pytest.fixture
def shard(scripted: Callable[..., Server]) -> Server:
    """A scripted server of the test's own."""
    return scripted()


@pytest.fixture(scope="session")
def shared_shard(make_shared_server: Callable[..., Server], scripted_python: Path) -> Server:
    """One that tests share which leave nothing but keys behind."""
    return make_shared_server(settings={"keymiss.python": scripted_python})


@pytest.fixture
def scripts(shard: Server) -> Iterator[Scripts]:
    with contextlib.closing(shard.client()) as client:
        yield Scripts(client)
