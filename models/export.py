"""A question-answering model's graph as TorchScript and as ONNX.

    python -m keymiss_deploy.models.export [--model NAME] [--format torchscript] [--format onnx] [FOLDER]

Inputs input_ids, attention_mask, token_type_ids (int64 [batch, tokens]), outputs start_logits, end_logits
(float32 [batch, tokens]); both dimensions are free. A file is written only after it agreed with the eager
model on real text, alone and in a padded batch. The same model gives the same bytes, so that every shard
stores the same digest.
"""

from __future__ import annotations

import argparse
import os
import struct
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import numpy.typing as npt

from keymiss.qa import Encoder

from .source import DEFAULT, ModelUnavailable, cache_folder, load_eager, slug_of, write_folder

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUTS = ("start_logits", "end_logits")
TOLERANCE = 1e-4  # of a logit, float32
OPSET = 17
FORMATS = {"torchscript": "model.pt", "onnx": "model.onnx"}
BACKENDS = {"torchscript": "TORCH", "onnx": "ONNX"}

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

Logits = Callable[[Sequence[npt.NDArray[np.int64]]], Sequence[npt.NDArray[np.float32]]]


class ExportError(Exception):
    """What was exported does not do what the model does."""


@dataclass(frozen=True)
class Exported:
    """The files of an exported model."""

    folder: Path

    def model(self, form: str) -> Path:
        return self.folder / FORMATS[form]

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"


def export(name: str = DEFAULT, form: str = "torchscript", cache: Path | None = None) -> Exported:
    """The model `name` in the format `form`, from the cache where it was exported before (then without
    importing torch). ModelUnavailable, ExportError."""
    cache = cache or cache_folder()
    exported = Exported(cache / slug_of(name) / form)
    if not exported.folder.is_dir():
        model, tokenizer = load_eager(name, cache)
        write_folder(exported.folder, lambda folder: _write(model, tokenizer, form, folder))
    return exported


def export_torchscript(model: Any, file: Path) -> None:
    """Trace an eager model to a TorchScript archive."""
    import torch

    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter(
            "ignore"
        )  # of the tracer, on shapes that it takes for constants: what _check is for
        example = _example()
        traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
            _logits_module(model), example, strict=False, check_trace=False
        )
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            raw = Path(folder, "archive.pt")
            torch.jit.save(traced, str(raw))
            _rewrite_archive(raw, file)


def export_onnx(model: Any, file: Path) -> None:
    """Trace an eager model to an ONNX file."""
    import torch

    free = {name: {0: "batch", 1: "tokens"} for name in (*INPUTS, *OUTPUTS)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _logits_module(model),
            _example(),
            str(file),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )


_EXPORTERS: dict[str, Callable[[Any, Path], None]] = {"torchscript": export_torchscript, "onnx": export_onnx}


def _write(model: Any, tokenizer: Any, form: str, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    _EXPORTERS[form](model, folder / FORMATS[form])
    _check(eager_logits(model), load_logits(folder / FORMATS[form], form), Encoder(tokenizer))


def load_logits(file: Path, form: str, threads: int | None = None) -> Logits:
    """An exported model as a function from the three inputs to the two outputs, run by the worker's own
    backend."""
    from keymiss.backends import Backends, Device

    threads = threads or os.cpu_count() or 1
    return Backends(threads)[BACKENDS[form]].load(file, Device("CPU"), (), ()).run


def eager_logits(model: Any) -> Logits:
    """The eager model as such a function."""
    import torch

    module = _logits_module(model)

    def run(inputs: Sequence[npt.NDArray[np.int64]]) -> Sequence[npt.NDArray[np.float32]]:
        with torch.inference_mode():
            return [output.numpy() for output in module(*map(torch.from_numpy, inputs))]

    return run


def pad(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[npt.NDArray[np.int64]]:
    """The three inputs for rows of (input_ids, token_type_ids) of different length."""
    shape = len(rows), max(len(ids) for ids, _ in rows)
    inputs = [np.zeros(shape, np.int64) for _ in INPUTS]
    for n, (ids, types) in enumerate(rows):
        for array, values in zip(inputs, (ids, [1] * len(ids), types), strict=True):
            array[n, : len(ids)] = values
    return inputs


def _check(expected: Logits, exported: Logits, encoder: Encoder) -> None:
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
    import torch

    rows = [([101, *range(2000, 2022), 102], [0] * 12 + [1] * 12), ([101, 2054, 102], [0] * 3)]
    return tuple(map(torch.from_numpy, pad(rows)))


def _logits_module(model: Any) -> Any:
    """The model with the inputs and outputs of INPUTS and OUTPUTS. One that knows no token types ignores
    them."""
    import inspect

    import torch

    takes_types = "token_type_ids" in inspect.signature(model.forward).parameters

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> tuple[Any, Any]:
            types = {"token_type_ids": token_type_ids} if takes_types else {}
            output = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)
            return output.start_logits, output.end_logits

    return Logits().eval()


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="where exported models are kept (default: the user's cache)"
    )
    parser.add_argument(
        "--model", default=DEFAULT, help="a Hugging Face id or folder (default: the model that needs no hub)"
    )
    parser.add_argument("--format", choices=FORMATS, action="append", help="default: both")
    arguments = parser.parse_args()
    for form in arguments.format or FORMATS:
        try:
            print(export(arguments.model, form, arguments.folder).model(form))
        except (ModelUnavailable, ExportError) as error:
            parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
