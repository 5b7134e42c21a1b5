"""The default model, exported where all tests, and the deployments that they make, find it."""

from __future__ import annotations

import pytest
from keymiss_deploy.models.export import Exported, export
from keymiss_deploy.models.logits import FILES


@pytest.fixture(scope="session", params=FILES)
def form(request: pytest.FixtureRequest) -> str:
    """`torchscript` or `onnx`."""
    return str(request.param)


@pytest.fixture(scope="session")
def exported(form: str) -> Exported:
    return export(form=form)
