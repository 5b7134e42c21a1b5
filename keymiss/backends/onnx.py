"""ONNX: models in the Open Neural Network Exchange format, run by ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keymiss.backends.base import (
    ARRAY_DTYPES,
    Array,
    Backend,
    Device,
    Model,
    object_array,
    unsupported_output,
)
from keymiss.errors import BackendError, ModelError

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PROVIDERS = {"CPU": "CPUExecutionProvider", "GPU": "CUDAExecutionProvider"}
_FATAL = (
    4  # the runtime's log level: what goes wrong is told to the client, not to the worker's standard error
)


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
        self.require(Device(device.kind))
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        # Threads that spin between passes take the cores that the shards need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        provider = _PROVIDERS[device.kind]
        chosen = (provider, {"device_id": device.number}) if device.kind == "GPU" else provider
        try:
            session = self._runtime.InferenceSession(str(path), options, providers=[chosen])
        except Exception as error:  # the runtime's own exception classes have no common base but this
            raise BackendError(f"the blob is no ONNX model: {_useful(error)}") from None
        return OnnxModel(session, path.stat().st_size)


class OnnxModel(Model):
    """A session of ONNX Runtime."""

    mapped_bytes = 0

    def __init__(self, session: Any, size: int) -> None:
        self._session = session
        self.inputs = tuple(x.name for x in session.get_inputs())
        self.outputs = tuple(x.name for x in session.get_outputs())
        self.weight_bytes = size

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        feed = {name: _as_text(tensor) for name, tensor in zip(self.inputs, tensors, strict=True)}
        try:
            results = self._session.run(None, feed)
        except Exception as error:  # see load
            raise ModelError(f"the model failed: {_useful(error)}") from None
        return [_output(n, value) for n, value in enumerate(results)]


def _as_text(tensor: Array) -> Array:
    """The runtime takes strings as str."""
    if tensor.dtype != object:
        return tensor
    try:
        text = [value.decode() for value in tensor.flat]
    except UnicodeDecodeError:
        raise ModelError("the ONNX backend takes STRING tensors in UTF-8 only") from None
    return object_array(text, tensor.shape)


def _output(position: int, value: Any) -> Array:
    if not isinstance(value, np.ndarray):
        raise ModelError(f"output {position + 1} of the model is a {type(value).__name__}, not a tensor")
    if value.dtype == object:
        return object_array([text.encode() for text in value.flat], value.shape)
    if value.dtype not in ARRAY_DTYPES:
        raise unsupported_output(position, value.dtype)
    return np.ascontiguousarray(value)


def _useful(error: Exception) -> str:
    """The runtime's message in one line, without its prefix."""
    return " ".join(_PREFIX.sub("", str(error)).split()) or type(error).__name__
