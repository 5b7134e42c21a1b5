"""The examples of docs/client.md print what it shows."""

from __future__ import annotations

import doctest
import io
from pathlib import Path

import pytest
from support import torch_models
from support.cluster import Cluster
from support.paths import REPOSITORY
from support.server import Server

PAGE = REPOSITORY / "docs" / "client.md"


def test_the_examples_of_the_client_go_as_shown(
    server: Server, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt").write_bytes(torch_models.sum_and_product())
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    for shown, port in (("6379", server.port), ("30001", cluster.masters[0].port)):
        assert f"port={shown}" in text
        text = text.replace(f"port={shown}", f"port={port}")
    session = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(session.examples) > 40
    printed = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(session, out=printed.write)
    assert runner.failures == 0, printed.getvalue()
