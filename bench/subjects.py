"""The models that are measured, as TorchScript files."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
    backend: str = "TORCH"

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


def minilm(tokens: int, form: str = "torchscript", backend: str = "TORCH") -> Subject:
    """The deployment's own model, exported where it was not yet, on so many tokens."""
    what = f"all-MiniLM-L6-v2 for question answering, float32, {backend}, {tokens} tokens"
    return Subject(
        f"MiniLM {backend}", what, export(form=form).model(form), "INT64", (1, tokens), 3, 2, 0, backend
    )


def bert_base(file: Path, tokens: int) -> Subject:
    """A model of the size of bert-base, its weights random, written to `file`."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    class Logits(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = BertForQuestionAnswering(BertConfig())

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            out = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)
            return out.start_logits, out.end_logits

    _write_traced(Logits(), file)
    what = f"the shape of bert-base, RANDOM weights, float32, TORCH, {tokens} tokens"
    return Subject("bert-base, random", what, file, "INT64", (1, tokens), 3, 2, 0)


def small(file: Path, tokens: int, seed: int = 0, words: int = 4000) -> Subject:
    """A model of 1 MB a thousand words that takes and gives what BERT models do, its weights random, written
    to `file`."""
    import torch

    class Small(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(words, 256)
            self.spans = torch.nn.Linear(256, 2)

        def forward(self, ids: Any, mask: Any, types: Any) -> Any:
            logits = self.spans(self.words(ids)) + (mask + types).unsqueeze(2)
            return logits[:, :, 0], logits[:, :, 1]

    torch.manual_seed(seed)
    _write_traced(Small(), file)
    what = f"embeddings and one layer, RANDOM weights, float32, TORCH, {tokens} tokens"
    return Subject("small, random", what, file, "INT64", (1, tokens), 3, 2, 0)


def perturbed(subject: Subject, file: Path, seed: int) -> Subject:
    """A TORCH model like this one with every weight a little different, written to `file`."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is deprecated in torch, and what this is about
        module = torch.jit.load(str(subject.file))
        for parameter in module.parameters():
            parameter.mul_(1 + 1e-4 * torch.rand(1, generator=generator).item())
        module.save(str(file))
    return replace(subject, name=f"{subject.name} {seed}", file=file)


def _write_traced(module: Any, file: Path) -> None:
    import torch

    ones = torch.ones((1, 8), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated in torch, and what this is about
        torch.jit.trace(module.eval(), (ones, ones, ones)).save(str(file))


def _write_tiny(file: Path) -> Path:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated in torch, and what this is about
        traced = torch.jit.trace(torch.nn.Linear(8, 2).eval(), torch.ones(1, 8))
        traced.save(str(file))
    return file
