"""The default model, exported once for all tests of a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from keymiss_deploy.models.export import Exported, export
from keymiss_deploy.models.logits import FILES


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session", params=FILES)
def form(request: pytest.FixtureRequest) -> str:
    """`torchscript` or `onnx`."""
    return str(request.param)


@pytest.fixture(scope="session")
def exported(cache: Path, form: str) -> Exported:
    return export(form=form, cache=cache)
