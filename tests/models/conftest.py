"""The default model, exported where all tests, and the deployments that they make, find it."""

from __future__ import annotations

import pytest
from keymiss_deploy.models.export import Exported, export
from keymiss_deploy.models.forms import FORMS


@pytest.fixture(scope="session", params=["torchscript", "onnx"])
def form(request: pytest.FixtureRequest) -> str:
    """A form in float32, in which the published figures hold."""
    return str(request.param)


@pytest.fixture(scope="session", params=FORMS)
def any_form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def exported(form: str) -> Exported:
    return export(form=form)
