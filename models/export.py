"""A question-answering model's graph as TorchScript and as ONNX: what `keymiss model export` makes.

Inputs and outputs are those of logits; batch and tokens are free. A file is written only after it agreed with
the eager model on real text, alone and in a padded batch. The same model gives the same bytes, so that every
shard stores the same digest.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from .logits import FILES
from .source import DEFAULT, cache_folder, slug_of


@dataclass(frozen=True)
class Exported:
    """The files of an exported model."""

    folder: Path

    def model(self, form: str) -> Path:
        return self.folder / FILES[form]

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"


def export(name: str = DEFAULT, form: str = "torchscript", cache: Path | None = None) -> Exported:
    """The model `name` in the format `form`, from the cache where it was exported before, else made by a
    process of its own; torch is not imported into this one. Who comes while another exports the same model
    waits for that. ModelUnavailable, ExportError."""
    cache = cache or cache_folder()
    exported = Exported(cache / slug_of(name) / form)
    if not exported.folder.is_dir():
        with _alone(exported.folder.parent):
            if not exported.folder.is_dir():
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                    process.submit(_make, name, form, cache, exported.folder).result()
    return exported


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Until it ends, no other process is in such a block for this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(name: str, form: str, cache: Path, folder: Path) -> None:
    """In the process that makes it."""
    from .tracing import make

    make(name, form, cache, folder)
