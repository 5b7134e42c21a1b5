"""docs/redisai-in-functions.md: its examples print what it shows, and it leaves nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs.examples import check_examples
from support import torch_models
from support.paths import REPOSITORY
from support.server import Server

from keymiss.functions import redisai

PAGE = REPOSITORY / "docs" / "redisai-in-functions.md"


def test_the_examples_of_the_page_go_as_shown(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt").write_bytes(torch_models.sum_and_product())
    monkeypatch.chdir(tmp_path)
    check_examples(PAGE, {6379: server.port}, least=8)


def test_the_page_tells_of_every_name_of_the_module_and_of_its_dags() -> None:
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", PAGE.read_text()))))
    known = {name for name in vars(redisai.PyDAGRunner) if name[0].isupper()} | {*redisai.__all__}
    assert known - told == set()
