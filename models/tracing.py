"""Making an exported model: trace it, check it against the eager one, write it.

To be run in a process of its own, see export: tracing names classes after what the process has traced
before, and the same model is to give the same bytes.
"""

from __future__ import annotations

import inspect
import struct
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt
import torch

from keymiss.qa import Encoder

from .logits import FILES, INPUTS, OUTPUTS, Logits, load_logits, pad
from .source import ExportError, ModelUnavailable, load_eager, write_folder

TOLERANCE = 1e-4  # of a logit, float32
OPSET = 17

_ALIGNMENT = 64  # of tensors in a TorchScript archive, so that they can be mapped
_LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name

_CHECKS = (
    ("Who performs viral transmission among adults?", "Adenovirus is spread among adults by close contact."),
    (
        "What is the incubation period of measles?",
        "Measles is an airborne disease which spreads easily from one person to the next through the coughs "
        "and sneezes of infected people. Its incubation period is ten to twelve days, and symptoms usually "
        "last seven to ten days.",
    ),
    ("Why?", "Because."),
)


class LogitsModule(torch.nn.Module):  # type: ignore[misc]  # torch is not read (pyproject.toml)
    """A model of transformers with the inputs and outputs of INPUTS and OUTPUTS."""

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
            return output.start_logits, output.end_logits
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        nothing = 0.0 * token_type_ids  # an input that nothing reads would be dropped from the graph
        return output.start_logits + nothing, output.end_logits + nothing


def make(name: str, form: str, cache: Path, folder: Path) -> None:
    """Export the model `name` to the folder `folder`. ModelUnavailable, ExportError."""
    model, tokenizer = load_eager(name, cache)
    module = LogitsModule(model).eval()
    write_folder(folder, lambda unfinished: _write(module, tokenizer, form, unfinished))


def _write(module: LogitsModule, tokenizer: Any, form: str, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    try:
        encoder = Encoder(tokenizer)
    except ValueError as error:
        raise ModelUnavailable(f"this model cannot be exported: {error}") from None
    _EXPORTERS[form](module, folder / FILES[form])
    check(eager_logits(module), load_logits(folder / FILES[form], form), encoder)


def export_torchscript(module: LogitsModule, file: Path) -> None:
    """Trace the module to a TorchScript archive."""
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


_EXPORTERS: dict[str, Callable[[LogitsModule, Path], None]] = {
    "torchscript": export_torchscript,
    "onnx": export_onnx,
}


def eager_logits(module: LogitsModule) -> Logits:
    """The eager model as such a function."""

    def run(inputs: Sequence[npt.NDArray[np.int64]]) -> Sequence[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return [output.numpy() for output in module(*map(torch.from_numpy, inputs))]

    return run


def check(expected: Logits, exported: Logits, encoder: Encoder) -> None:
    """ExportError unless both give the same logits for real text: each row alone, all in one padded batch."""
    rows = []
    for question, text in _CHECKS:
        window = next(encoder.windows(encoder.question(question), encoder.pieces(text)))
        rows.append((window.input_ids, window.token_type_ids))
    for batch in ([rows[0]], [rows[1]], [rows[2]], rows):
        inputs = pad(batch)
        real = inputs[1] == 1
        for want, have in zip(expected(inputs), exported(inputs), strict=True):
            difference = float(np.abs(want - have)[real].max())
            if not difference <= TOLERANCE:  # also where it is not a number
                raise ExportError(
                    f"the exported model's logits differ from the eager model's by {difference:.2g} for "
                    f"inputs of shape {inputs[0].shape}; {TOLERANCE:g} is allowed"
                )


def _example() -> tuple[Any, ...]:
    """Inputs to trace with, padded, so that nothing of one shape or mask looks constant."""
    rows = [([101, *range(2000, 2022), 102], [0] * 12 + [1] * 12), ([101, 2054, 102], [0] * 3)]
    return tuple(map(torch.from_numpy, pad(rows)))


def _rewrite_archive(source: Path, target: Path) -> None:
    """The same archive without what differs from run to run: debug files (which hold paths of this
    machine), dates, an id made of them. Entries stay uncompressed and aligned."""
    with ZipFile(source) as old, target.open("wb") as file, ZipFile(file, "w", ZIP_STORED) as new:
        for entry in old.infolist():
            if entry.filename.endswith(".debug_pkl"):
                continue
            data = old.read(entry)
            if entry.filename.endswith("serialization_id"):
                data = b"0" * len(data)
            copy = ZipInfo(entry.filename)  # dated 1980
            start = file.tell() + _LOCAL_HEADER_BYTES + len(entry.filename.encode()) + 4
            fill = -start % _ALIGNMENT
            copy.extra = struct.pack("<2sH", b"FB", fill) + b"Z" * fill  # as torch pads its own
            new.writestr(copy, data)
