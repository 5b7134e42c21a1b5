"""The models that are measured, as TorchScript files."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keymiss_deploy.models.export import export

TOKENS = 128


@dataclass(frozen=True)
class Subject:
    """A model, and the one shape of all its inputs, which are full of ones: what is in them costs nothing."""

    name: str
    what: str
    file: Path
    dtype: str  # as AI.TENSORSET names it, and NumPy and torch in lower case
    shape: tuple[int, ...]
    inputs: int
    outputs: int
    batchsize: int

    @property
    def blob(self) -> bytes:
        return np.ones(self.shape, {"FLOAT": "<f4", "INT64": "<i8"}[self.dtype]).tobytes()


def subjects(folder: Path) -> list[Subject]:
    """The tiny model, written to `folder`, and the deployment's own, exported where it was not yet.

    ModelUnavailable, ExportError, ImportError where torch is not installed."""
    minilm = export().model("torchscript")
    return [
        Subject(
            "tiny", "one linear layer, 1x8 to 1x2", _write_tiny(folder / "tiny.pt"), "FLOAT", (1, 8), 1, 1, 64
        ),
        Subject(
            "MiniLM",
            f"all-MiniLM-L6-v2 for question answering, float32, {TOKENS} tokens",
            minilm,
            "INT64",
            (1, TOKENS),
            3,
            2,
            4,
        ),
    ]


def _write_tiny(file: Path) -> Path:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated in torch, and what this is about
        traced = torch.jit.trace(torch.nn.Linear(8, 2).eval(), torch.ones(1, 8))
        traced.save(str(file))
    return file
