"""What the models of a process take, where they have a second form for passes that share the device."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from inference import small_models
from inference.second_form import make_second_form, run_beside_another

from keymiss.backends import Backends, Device, Model
from keymiss.inference.store import Identity, Store

OWNER = "a shard"


@pytest.fixture(params=["ONNX", "OPENVINO"])
def identity(request: pytest.FixtureRequest) -> Identity:
    return Identity("a digest", request.param, Device("CPU"), (), ())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return small_models.write_onnx_linear(tmp_path / "model.onnx")


def store_with(identity: Identity, file: Path, budget: int) -> tuple[Store, Model]:
    """A store of that budget, and the model in it, held by OWNER."""
    store = Store(Backends(2))
    store.budget = budget
    return store, asyncio.run(store.load(identity, file, OWNER))


@pytest.mark.parametrize("times", [0, 2])
def test_a_second_form_is_made_where_there_is_room_and_counts(
    identity: Identity, file: Path, times: int
) -> None:
    size = file.stat().st_size
    store, model = store_with(identity, file, times * size)
    assert store.get(identity, OWNER) is model
    make_second_form(model)
    assert store.get(identity, OWNER) is model
    assert store.resident_bytes == 2 * size


def test_without_room_a_model_goes_on_with_one_form(identity: Identity, file: Path) -> None:
    size = file.stat().st_size
    store, model = store_with(identity, file, 2 * size - 1)
    assert store.get(identity, OWNER) is model and not model.may_grow
    run_beside_another(model)
    assert store.get(identity, OWNER) is model
    assert store.resident_bytes == size
    store.budget = 0
    assert store.get(identity, OWNER) is model
    make_second_form(model)
    assert store.get(identity, OWNER) is model
    assert store.resident_bytes == 2 * size
