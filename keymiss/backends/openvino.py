"""OPENVINO: ONNX models and OpenVINO's own (IR), run by OpenVINO.

A model of OpenVINO is two files, model.xml and model.bin; the blob is a zip of them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from keymiss.backends.archive import data_offset
from keymiss.backends.base import (
    Array,
    Backend,
    Device,
    Model,
    TensorInfo,
    check_inputs,
    one_line,
    require_dtypes,
)
from keymiss.backends.onnx_file import check_onnx
from keymiss.errors import BackendError, ModelError

_ZIP = b"PK\x03\x04"
_MAX_XML_BYTES = 64 << 20
# Types by OpenVINO's names. It has strings too, but frees them wrongly (2026.4).
_DTYPES = {
    "f32": np.dtype("float32"),
    "f64": np.dtype("float64"),
    "boolean": np.dtype("bool"),
    **{
        f"{sign}{bits}": np.dtype(f"{kind}int{bits}")
        for bits in (8, 16)
        for sign, kind in (("i", ""), ("u", "u"))
    },
    "i32": np.dtype("int32"),
    "i64": np.dtype("int64"),
}
# What says in OpenVINO's messages where in its source it was.
_PLACE = re.compile(r"^(Exception from .*|Check '.*' failed at \S+:\d+:?)$", re.MULTILINE)


class OpenVinoBackend(Backend):
    name: ClassVar[str] = "OPENVINO"
    library: ClassVar[str] = "openvino"
    install: ClassVar[str] = "pip install 'keymiss[openvino]'"
    takes_names: ClassVar[bool] = False
    batches: ClassVar[bool] = True
    maps_weights: ClassVar[bool] = False

    def __init__(self, threads: int) -> None:
        # Without it TBB loads a library in a way that leaves it with another malloc than ours, and it frees
        # what it did not allocate.
        os.environ.setdefault("TBB_ENABLE_SANITIZERS", "1")
        # OpenVINO reports its use over the network, from a fork of this process, unless this is missing.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino
        from openvino.frontend import FrontEndManager

        self._openvino: Any = openvino
        self._core: Any = openvino.Core()
        self._onnx: Any = FrontEndManager().load_by_framework("onnx")
        self._threads = threads

    def devices(self) -> tuple[Device, ...]:
        return tuple(map(_device, filter(_is_known, self._core.available_devices)))

    def load(self, path: Path, device: Device, inputs: Sequence[str], outputs: Sequence[str]) -> Model:
        self.require(device)
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
        model, weights = self._read_ir(path) if is_zip else (self._read_onnx(path), None)
        try:
            compiled = self._core.compile_model(model, self._target(device), self._options(device))
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot run the model: {_useful(error)}") from None
        return OpenVinoModel(compiled, path.stat().st_size, weights)

    def _read_onnx(self, path: Path) -> Any:
        check_onnx(path)
        try:
            return self._onnx.convert(self._onnx.load(str(path)))
        except Exception as error:  # the front end's errors have no common base but this
            raise BackendError(f"OpenVINO cannot read the ONNX model: {_useful(error)}") from None

    def _read_ir(self, path: Path) -> tuple[Any, Array]:
        """The model, and its weights, which have to live as long."""
        try:
            with path.open("rb") as file, ZipFile(file) as archive:
                xml, weights = _entries(archive)
                text = archive.read(xml)
                offset, size = data_offset(file, weights), weights.file_size
            # Copy-on-write, since OpenVINO takes no array that is read-only.
            pages = np.memmap(path, np.uint8, "c", offset, size) if size else np.empty(0, np.uint8)
        except (BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError, ValueError) as error:
            raise BackendError(f"the blob is no zip of an .xml and a .bin: {one_line(error)}") from None
        try:
            return self._core.read_model(text, self._openvino.Tensor(pages, shared_memory=True)), pages
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot read the model: {_useful(error)}") from None

    def _target(self, device: Device) -> str:
        """OpenVINO's name of the device."""
        if device.kind == "CPU":
            return "CPU"
        names = filter(_is_known, self._core.available_devices)
        return next(str(name) for name in names if _device(name) == device)

    def _options(self, device: Device) -> dict[str, Any]:
        """A pass at a time, as soon as may be, in the precision that the model has."""
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "EXECUTION_MODE_HINT": "ACCURACY"}
        if device.kind == "CPU":
            # Pinned threads of two models would share cores that others leave idle.
            options |= {"INFERENCE_NUM_THREADS": self._threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        return options


class OpenVinoModel(Model):
    """A compiled model and its one request."""

    mapped_bytes = 0  # of a zip the weights are mapped, and the first pass copies most in an order of its own

    def __init__(self, compiled: Any, size: int, weights: Array | None) -> None:
        self._infos = [_info(port, "input", n) for n, port in enumerate(compiled.inputs)]
        results = [_info(port, "output", n) for n, port in enumerate(compiled.outputs)]
        require_dtypes(self._infos, results)
        self._request = compiled.create_infer_request()
        self.inputs = tuple(info.name for info in self._infos)
        self.outputs = tuple(info.name for info in results)
        self._weights = weights  # the compiled model points into them
        self.weight_bytes = size

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        check_inputs(self._infos, tensors)
        # NumPy has two types of integers of 64 bits, equal to each other; OpenVINO knows one of them.
        given = [tensor.view(info.dtype) for info, tensor in zip(self._infos, tensors, strict=True)]
        try:
            results = self._request.infer(given, share_inputs=True)
        except RuntimeError as error:
            raise ModelError(f"the model failed: {_useful(error)}") from None
        return [results[n] for n in range(len(self.outputs))]


def _entries(archive: ZipFile) -> tuple[ZipInfo, ZipInfo]:
    """The .xml and the .bin of a zip. ValueError where they are not as they should be."""
    by_suffix = {
        suffix: [entry for entry in archive.infolist() if entry.filename.endswith(suffix)]
        for suffix in (".xml", ".bin")
    }
    if any(len(entries) != 1 for entries in by_suffix.values()):
        raise ValueError("it should hold one .xml and one .bin")
    (xml,), (weights,) = by_suffix.values()
    if xml.file_size > _MAX_XML_BYTES:
        raise ValueError(f"the .xml is larger than {_MAX_XML_BYTES >> 20} MB")
    if weights.compress_type != ZIP_STORED:
        raise ValueError("the .bin is compressed: store it as it is (zip -0)")
    return xml, weights


def _is_known(name: str) -> bool:
    return name.partition(".")[0] in ("CPU", "GPU")


def _device(name: str) -> Device:
    """OpenVINO's CPU, GPU, GPU.1 ... as ours."""
    kind, _, number = name.partition(".")
    return Device(kind, int(number or 0))


def _info(port: Any, side: str, position: int) -> TensorInfo:
    """An input or output as the model tells it."""
    name = port.any_name if port.names else f"{side}_{position}"
    kind = port.element_type.get_type_name()
    shape = None
    if port.partial_shape.rank.is_static:
        shape = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    return TensorInfo(name, _DTYPES.get(kind, kind), shape)


def _useful(error: Exception) -> str:
    """What the message says besides where in OpenVINO's source it was found out."""
    return one_line(_PLACE.sub("", str(error))) or one_line(error)
