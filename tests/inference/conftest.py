"""A models worker as a server's child, and files of small models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inference import small_models
from inference.shard import Shard, StoredModel
from support.channel_end import child_worker


@pytest.fixture(scope="module")
def shard() -> Iterator[Shard]:
    """A channel to a worker that the tests of a module share."""
    with child_worker() as (ours, _):
        yield Shard(ours)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., StoredModel]:
    """model("Linear", batchsize=4): a TorchScript model of small_models, with its options."""
    folder = tmp_path_factory.mktemp("models")

    def make(name: str, **options: object) -> StoredModel:
        file = folder / f"{name}.pt"
        if not file.is_file():
            small_models.write(getattr(small_models, name)(), file)
        return StoredModel(Path(file), **options)  # type: ignore[arg-type]

    return make
