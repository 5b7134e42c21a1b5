"""Making an exported model: trace it, check it against the eager one, write it.

To be run in a process of its own, see export: tracing names classes after what the process has traced
before, and the same model is to give the same bytes.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import torch

from keymiss.qa import Encoder

from .checking import check
from .forms import FORMS, Form
from .logits import INPUTS, OUTPUTS, Logits, load_logits, pad
from .source import ModelUnavailable, load_eager, write_folder
from .zips import write_entry

OPSET = 17
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class LogitsModule(torch.nn.Module):  # type: ignore[misc]  # torch is not read (pyproject.toml)
    """A model of transformers with the inputs and outputs of INPUTS and OUTPUTS, in any precision."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.takes_types = "token_type_ids" in inspect.signature(model.forward).parameters

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.takes_types:
            output = self.model(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            )
            return output.start_logits.float(), output.end_logits.float()
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        nothing = 0.0 * token_type_ids  # an input that nothing reads would be dropped from the graph
        return output.start_logits.float() + nothing, output.end_logits.float() + nothing


def make(name: str, form: str, cache: Path, folder: Path) -> None:
    """Export the model `name` to the folder `folder`: as TorchScript, or as the ONNX file that other forms
    are made of. ModelUnavailable, ExportError."""
    model, tokenizer = load_eager(name, cache)
    module = LogitsModule(model).eval()
    write_folder(folder, lambda unfinished: _write(name, cache, module, tokenizer, FORMS[form], unfinished))


def _write(name: str, cache: Path, module: LogitsModule, tokenizer: Any, form: Form, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    try:
        encoder = Encoder(tokenizer)
    except ValueError as error:
        raise ModelUnavailable(f"this model cannot be exported: {error}") from None
    file = folder / form.file
    if form.runtime == "onnx":
        export_onnx(module, file)
    elif form.precision == "fp32":
        export_torchscript(module, file)
    else:
        # Fused attention, which pays in these precisions; `check` sees whether its graph serves any mask.
        lower, _ = load_eager(name, cache, attention="sdpa")
        export_torchscript(LogitsModule(lower.to(_DTYPES[form.precision])).eval(), file)
    check(eager_logits(module), load_logits(file, form.name), encoder, form.tolerance)


def export_torchscript(module: LogitsModule, file: Path) -> None:
    """Trace the module to a TorchScript archive, its tensors aligned so that they can be mapped."""
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")  # shapes that the tracer takes for constants: what `check` is for
        example = _example()
        traced: Any = torch.jit.trace(module, example, strict=False, check_trace=False)
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            raw = Path(folder, "archive.pt")
            torch.jit.save(traced, str(raw))
            _rewrite_archive(raw, file)


def export_onnx(module: LogitsModule, file: Path) -> None:
    """Trace the module to an ONNX file."""
    free = {name: {0: "batch", 1: "tokens"} for name in (*INPUTS, *OUTPUTS)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            _example(),
            str(file),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )


def eager_logits(module: LogitsModule) -> Logits:
    """The eager model as such a function."""

    def run(inputs: Sequence[npt.NDArray[np.int64]]) -> Sequence[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return [output.numpy() for output in module(*map(torch.from_numpy, inputs))]

    return run


def _example() -> tuple[Any, ...]:
    """Inputs to trace with, padded, so that nothing of one shape or mask looks constant."""
    rows = [([101, *range(2000, 2022), 102], [0] * 12 + [1] * 12), ([101, 2054, 102], [0] * 3)]
    return tuple(map(torch.from_numpy, pad(rows)))


def _rewrite_archive(source: Path, target: Path) -> None:
    """The same archive without what differs from run to run: debug files (which hold paths of this
    machine), dates, an id made of them."""
    with ZipFile(source) as old, target.open("wb") as file, ZipFile(file, "w") as new:
        for entry in old.infolist():
            if entry.filename.endswith(".debug_pkl"):
                continue
            data = old.read(entry)
            if entry.filename.endswith("serialization_id"):
                data = b"0" * len(data)
            write_entry(new, file, entry.filename, data)
