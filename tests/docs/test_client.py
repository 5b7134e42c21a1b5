"""The examples of docs/client.md print what it shows."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from docs.examples import check_examples
from support import torch_models
from support.cluster import Cluster
from support.paths import REPOSITORY
from support.server import Server

from keymiss import runtime

PAGE = REPOSITORY / "docs" / "client.md"


def test_the_examples_of_the_client_go_as_shown(
    server: Server, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt").write_bytes(torch_models.sum_and_product())
    monkeypatch.chdir(tmp_path)
    ports = {6379: server.port, 30001: cluster.masters[0].port}
    check_examples(PAGE, ports, least=41, options=doctest.ELLIPSIS)


def test_the_page_tells_of_all_that_functions_of_programs_may_call() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert set(runtime.__all__) <= told
