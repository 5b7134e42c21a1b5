"""A models worker as a server's child, and files of small models."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from inference import small_models
from inference.shard import Shard, StoredModel
from support.models_worker import start_worker


def end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()
    if worker.stderr:
        worker.stderr.close()


@contextmanager
def child_worker(
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[socket.socket, subprocess.Popen[str]]]:
    """A server's end of a channel, and the worker at the other one."""
    ours, its = socket.socketpair()
    worker = start_worker(fd=its.fileno(), environment=environment)
    its.close()
    try:
        with ours:
            yield ours, worker
    finally:
        end(worker)


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
