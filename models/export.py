"""A question-answering model as a file that servers can run: what `keymiss model export` makes.

Inputs and outputs are those of logits; batch and tokens are free. A file is written only after it agreed with
the eager model on real text, alone and in a padded batch, as far as its precision goes. The same model gives
the same bytes, so that every shard stores the same digest.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from .forms import FORMS, REFERENCE
from .source import DEFAULT, cache_folder, slug_of

_TRACED = "onnx-traced"  # the folder of what forms that are not PyTorch's are made of


@dataclass(frozen=True)
class Exported:
    """The files of an exported model."""

    folder: Path

    def model(self, form: str) -> Path:
        return self.folder / FORMS[form].file

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"


def export(name: str = DEFAULT, form: str = REFERENCE.name, cache: Path | None = None) -> Exported:
    """The model `name` in the form `form`, from the cache where it was exported before, else made by
    processes of their own; torch is not imported into this one. Who comes while another exports the same
    model waits for that. ModelUnavailable, ExportError."""
    cache = cache or cache_folder()
    folder = cache / slug_of(name) / form
    if not folder.is_dir():
        with alone(folder.parent):
            _make(name, form, cache, folder)
    return Exported(folder)


def _make(name: str, form: str, cache: Path, folder: Path) -> None:
    """In the block where no other process makes it."""
    if folder.is_dir():
        return
    if FORMS[form].runtime == REFERENCE.runtime:
        _in_process(_trace, name, form, cache, folder)
        return
    traced = folder.with_name(_TRACED)
    if not traced.is_dir():
        _in_process(_trace, name, "onnx", cache, traced)
    _in_process(_derive, form, traced, folder)


def _in_process(function: Callable[..., None], *arguments: object) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        process.submit(function, *arguments).result()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Until it ends, no other process is in such a block for this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _trace(name: str, form: str, cache: Path, folder: Path) -> None:
    """In the process that makes it."""
    from .tracing import make

    make(name, form, cache, folder)


def _derive(form: str, traced: Path, folder: Path) -> None:
    """In the process that makes it."""
    from .deriving import derive

    derive(traced, FORMS[form], folder)
