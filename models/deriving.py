"""What is made of a traced ONNX file without PyTorch: fused and quantised for ONNX Runtime, or for OpenVINO.

To be run in a process of its own, see export: these libraries print, log, and keep memory.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from keymiss.backends.openvino import PRECISION_HINT, RUNTIME_OPTIONS
from keymiss.qa import Encoder

from .checking import check
from .forms import Form
from .logits import load_logits
from .source import write_folder
from .zips import write_entry

_OPENVINO_PRECISIONS = {"bf16": "bf16", "fp16": "f16"}


def derive(traced: Path, form: Form, folder: Path) -> None:
    """Make `form` of the export `traced`, a folder with an ONNX file and a tokenizer. ExportError."""
    write_folder(folder, lambda unfinished: _write(traced, form, unfinished))


def _write(traced: Path, form: Form, folder: Path) -> None:
    shutil.copyfile(traced / "tokenizer.json", folder / "tokenizer.json")
    source, file = traced / "model.onnx", folder / form.file
    logging.getLogger().setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _MAKERS[form.runtime](source, form.precision, file)
    encoder = Encoder.from_file(folder / "tokenizer.json")
    check(load_logits(source, "onnx"), load_logits(file, form.name), encoder, form.tolerance)


def _onnx(source: Path, precision: str, file: Path) -> None:
    """Attention, layer norms and activations of BERT-like models become one operator each, of those that ONNX
    Runtime has besides the standard's; what it does not recognise stays as it is."""
    from onnxruntime.transformers import optimizer

    fused = optimizer.optimize_model(str(source), model_type="bert", opt_level=0)
    if precision == "fp16":
        fused.convert_float_to_float16(keep_io_types=True)
    if precision != "int8":
        fused.save_model_to_file(str(file))
        return
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        whole = Path(folder, "fused.onnx")
        fused.save_model_to_file(str(whole))
        _quantise(whole, file)


def _quantise(source: Path, file: Path) -> None:
    """Matrices in 8 bits, a scale for each column; activations are scaled by what each pass has."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(source),
        str(file),
        op_types_to_quantize=["MatMul", "Attention"],
        weight_type=QuantType.QInt8,  # with unsigned ones it has no fast kernels on x86
        per_channel=True,
        # The type of what the operators give that are not the standard's.
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT},
    )


def _openvino(source: Path, precision: str, file: Path) -> None:
    """OpenVINO's two files in a zip, the precision among the options that the model brings."""
    import openvino
    from openvino.frontend import FrontEndManager

    frontend: Any = FrontEndManager().load_by_framework("onnx")
    model = frontend.convert(frontend.load(str(source)))
    if precision != "fp32":
        model.set_rt_info(_OPENVINO_PRECISIONS[precision], [RUNTIME_OPTIONS, PRECISION_HINT])
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        xml = Path(folder, "model.xml")
        openvino.save_model(model, xml, compress_to_fp16=precision != "fp32")
        with file.open("wb") as target, ZipFile(target, "w") as archive:
            for part in (xml, xml.with_suffix(".bin")):
                write_entry(archive, target, part.name, part.read_bytes())


_MAKERS: dict[str, Callable[[Path, str, Path], None]] = {"onnx": _onnx, "openvino": _openvino}
