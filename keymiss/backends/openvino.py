"""OPENVINO: ONNX models and OpenVINO's own (IR), run by OpenVINO.

A model of OpenVINO is two files, model.xml and model.bin; the blob is a zip of them. It may say in which
precision it is to be computed: `set_rt_info("bf16", [RUNTIME_OPTIONS, PRECISION_HINT])` of openvino.Model. A
device without instructions for it computes in float32.

Requests
1. A request serves one call at a time; those that idle are kept, so that each of several callers finds one.
2. A pass alone has all threads. Passes that share the device give more with a share of them each: the model
   is compiled a second time for them, when that is first wanted.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from keymiss.backends.archive import data_offset
from keymiss.backends.base import (
    HALF_PRECISION_STEP,
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
from keymiss.backends.sharing import MAX_BYTES, Forms
from keymiss.errors import BackendError, ModelError

RUNTIME_OPTIONS = "runtime_options"  # where in a model's own information options for running it are
PRECISION_HINT = "INFERENCE_PRECISION_HINT"

_HALF_PRECISIONS = ("f16", "bf16")
# What OpenVINO calls a device that has instructions for each.
_CAPABILITIES = {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}
_LENGTH_STEP = 8  # tokens: it makes code for each length

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
_LOOPS = frozenset({"Loop", "TensorIterator"})
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
        target = self._target(device)
        own = own_options(model, self._core.get_property(target, "OPTIMIZATION_CAPABILITIES"))
        options = self._options(device) | own
        try:
            compiled = self._core.compile_model(model, target, options)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot run the model: {_useful(error)}") from None

        def compile_shared(threads: int) -> _Requests:
            streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": self._threads // threads}
            return _Requests(self._core.compile_model(model, target, options | streams), weights)

        size = path.stat().st_size
        step = HALF_PRECISION_STEP if own.get(PRECISION_HINT) in _HALF_PRECISIONS else _LENGTH_STEP
        is_straight = not any(op.get_type_name() in _LOOPS for op in model.get_ops())
        shares = device.kind == "CPU" and self._threads > 1 and size <= MAX_BYTES
        forms = Forms(_Requests(compiled, weights), self._threads, compile_shared if shares else None)
        return OpenVinoModel(compiled, forms, size, step, is_straight)

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
    """A compiled model, in a form for passes alone and one for those that share the device."""

    mapped_bytes = 0  # of a zip the weights are mapped, and the first pass copies most in an order of its own

    def __init__(
        self,
        compiled: Any,
        forms: Forms[_Requests],
        size: int,
        length_step: int,
        is_straight: bool,
    ) -> None:
        self._infos = [_info(port, "input", n) for n, port in enumerate(compiled.inputs)]
        results = [_info(port, "output", n) for n, port in enumerate(compiled.outputs)]
        require_dtypes(self._infos, results)
        self._forms, self.shares_device = forms, forms.can_share
        self.inputs = tuple(info.name for info in self._infos)
        self.outputs = tuple(info.name for info in results)
        self.weight_bytes, self.length_step, self.is_straight = size, length_step, is_straight

    @property
    def resident_bytes(self) -> int:
        return self.weight_bytes * self._forms.count

    def take_threads(self, threads: int) -> None:
        self._forms.take_threads(threads)

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        check_inputs(self._infos, tensors)
        # NumPy has two types of integers of 64 bits, equal to each other; OpenVINO knows one of them.
        given = [tensor.view(info.dtype) for info, tensor in zip(self._infos, tensors, strict=True)]
        with self._forms.current(self.may_grow).take() as request:
            try:
                results = request.infer(given, share_inputs=True)
            except RuntimeError as error:
                raise ModelError(f"the model failed: {_useful(error)}") from None
        return [results[n] for n in range(len(self.outputs))]


class _Requests:
    """Requests of a compiled model: as many as callers ever were in it at once. It may point into `weights`,
    and so may what it is compiled from."""

    def __init__(self, compiled: Any, weights: Array | None) -> None:
        self._compiled, self._weights = compiled, weights
        self._idle: deque[Any] = deque()

    @contextmanager
    def take(self) -> Iterator[Any]:
        """A request, for one call."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            yield request
        finally:
            self._idle.append(request)


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


def own_options(model: Any, capabilities: Collection[str]) -> dict[str, Any]:
    """What the model says of how it is to be run: its precision, if it is among the device's capabilities.
    BackendError where there is none such."""
    place = [RUNTIME_OPTIONS, PRECISION_HINT]
    if not model.has_rt_info(place):
        return {}
    told = model.get_rt_info(place)
    precision = str(getattr(told, "value", told))
    if precision not in _CAPABILITIES:
        raise BackendError(
            f"the model asks for {PRECISION_HINT} {precision!r}: {', '.join(_CAPABILITIES)} is known here"
        )
    return {PRECISION_HINT: precision if _CAPABILITIES[precision] in capabilities else "f32"}


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
