"""ONNX: models in the Open Neural Network Exchange format, run by ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keymiss.backends.base import (
    ARRAY_DTYPES,
    Array,
    Backend,
    Device,
    Model,
    TensorInfo,
    object_array,
    one_line,
    require_dtypes,
)
from keymiss.backends.onnx_file import check_onnx
from keymiss.backends.sharing import MAX_BYTES, Forms
from keymiss.errors import BackendError, ModelError

# What precedes the runtime's messages: a code, the file, the place in its source.
_PREFIX = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from \S+ failed:)?(/onnxruntime_src/.*?\) (?=[A-Z]))?"
)
_PROVIDERS = {"CPU": "CPUExecutionProvider", "GPU": "CUDAExecutionProvider"}
_FATAL = (
    4  # the runtime's log level: what goes wrong is told to the client, not to the worker's standard error
)


# The runtime's names of what a tensor key can hold.
_DTYPES = {
    "tensor(float)": np.dtype("float32"),
    "tensor(double)": np.dtype("float64"),
    "tensor(string)": np.dtype(object),
    **{f"tensor({dtype})": dtype for dtype in ARRAY_DTYPES if dtype.kind in "biu"},
}


class OnnxBackend(Backend):
    name: ClassVar[str] = "ONNX"
    library: ClassVar[str] = "onnxruntime"
    install: ClassVar[str] = "pip install 'keymiss[onnx]'"
    takes_names: ClassVar[bool] = False
    batches: ClassVar[bool] = True
    maps_weights: ClassVar[bool] = False

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self._runtime: Any = onnxruntime
        self._threads = threads

    def devices(self) -> tuple[Device, ...]:
        have = self._runtime.get_available_providers()
        return tuple(Device(kind) for kind, provider in _PROVIDERS.items() if provider in have)

    def load(self, path: Path, device: Device, inputs: Sequence[str], outputs: Sequence[str]) -> Model:
        if Device(device.kind) not in self.devices():  # how many GPUs there are is for the provider to know
            self.require(device)
        is_straight = check_onnx(path)
        try:
            session = self._session(path, device, self._threads)
        except Exception as error:  # the runtime's own exception classes have no common base but this
            raise BackendError(f"the blob is no ONNX model: {_useful(error)}") from None
        size = path.stat().st_size
        shares = device.kind == "CPU" and self._threads > 1 and size <= MAX_BYTES
        make_shared = partial(self._session, path, device) if shares else None
        return OnnxModel(Forms(session, self._threads, make_shared), size, is_straight)

    def _session(self, path: Path, device: Device, threads: int) -> Any:
        """The model in a session of its own, whose passes use `threads` threads."""
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        # Threads that spin in a pass end it a quarter sooner; between passes the shards need the cores.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        provider = _PROVIDERS[device.kind]
        chosen = (provider, {"device_id": device.number}) if device.kind == "GPU" else provider
        # Its fallback prints, tries the same again, and fails the same.
        return self._runtime.InferenceSession(str(path), options, providers=[chosen], enable_fallback=0)


class OnnxModel(Model):
    """Sessions of ONNX Runtime, which several threads may use at once: one for passes alone, and one for
    those that share the device."""

    mapped_bytes = 0

    def __init__(self, forms: Forms[Any], size: int, is_straight: bool) -> None:
        self._forms, self.shares_device = forms, forms.can_share
        session = forms.current(may_make=False)
        inputs, outputs = map(_infos, (session.get_inputs(), session.get_outputs()))
        require_dtypes(inputs, outputs)
        self.inputs = tuple(info.name for info in inputs)
        self.outputs = tuple(info.name for info in outputs)
        self.weight_bytes, self.is_straight = size, is_straight

    @property
    def resident_bytes(self) -> int:
        return self.weight_bytes * self._forms.count

    def take_threads(self, threads: int) -> None:
        self._forms.take_threads(threads)

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        feed = {name: _as_text(tensor) for name, tensor in zip(self.inputs, tensors, strict=True)}
        try:
            results = self._forms.current(self.may_grow).run(None, feed)
        except Exception as error:  # see load
            raise ModelError(f"the model failed: {_useful(error)}") from None
        return [_output(value) for value in results]


def _infos(arguments: Sequence[Any]) -> list[TensorInfo]:
    """Inputs or outputs as the session tells them."""
    return [TensorInfo(one.name, _DTYPES.get(one.type, one.type)) for one in arguments]


def _as_text(tensor: Array) -> Array:
    """The runtime takes strings as str."""
    if tensor.dtype != object:
        return tensor
    try:
        text = [value.decode() for value in tensor.flat]
    except UnicodeDecodeError:
        raise ModelError("the ONNX backend takes STRING tensors in UTF-8 only") from None
    return object_array(text, tensor.shape)


def _output(value: Array) -> Array:
    if value.dtype == object:
        return object_array([text.encode() for text in value.flat], value.shape)
    return np.asarray(value, order="C")


def _useful(error: Exception) -> str:
    """The runtime's message in one line, without its prefix."""
    return one_line(_PREFIX.sub("", str(error)))
