"""TFLITE: flatbuffers of TensorFlow Lite, run by LiteRT."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keymiss.backends.base import (
    Array,
    Backend,
    Device,
    Model,
    TensorInfo,
    as_array,
    check_inputs,
    one_line,
    require_dtypes,
)
from keymiss.errors import BackendError, ModelError

# What LiteRT advises those who build it into an app.
_HINT = re.compile(r" Make sure you apply/link the Flex delegate before inference\..*?ops_select")


_NODE = re.compile(r"(?<=\S)(?=Node number \d+ \()")  # it is put right behind the sentence before it


class TfliteBackend(Backend):
    name: ClassVar[str] = "TFLITE"
    library: ClassVar[str] = "ai_edge_litert"
    install: ClassVar[str] = "pip install 'keymiss[tflite]'"
    takes_names: ClassVar[bool] = False
    batches: ClassVar[bool] = False
    maps_weights: ClassVar[bool] = False

    def __init__(self, threads: int) -> None:
        from ai_edge_litert import interpreter

        self._interpreter: Any = interpreter.Interpreter
        self._threads = threads

    def devices(self) -> tuple[Device, ...]:
        return (Device("CPU"),)

    def load(self, path: Path, device: Device, inputs: Sequence[str], outputs: Sequence[str]) -> Model:
        self.require(device)
        try:
            interpreter = self._interpreter(model_path=str(path), num_threads=self._threads)
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"the blob is no TensorFlow Lite model: {one_line(error)}") from None
        try:
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise BackendError(f"LiteRT cannot run the model: {_useful(error)}") from None
        return TfliteModel(interpreter, path.stat().st_size)


class TfliteModel(Model):
    """An interpreter, for one thread at a time. Its inputs take the shape of the tensors they are given."""

    mapped_bytes = 0  # the file is mapped, and most kernels copy its weights in an order of their own

    def __init__(self, interpreter: Any, size: int) -> None:
        self._interpreter = interpreter
        self._inputs, self._outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._infos = [_info(details) for details in self._inputs]
        results = [_info(details) for details in self._outputs]
        require_dtypes(self._infos, results)
        self._shapes: list[tuple[int, ...]] | None = None  # for which memory is laid out; None: for none
        self.inputs = tuple(info.name for info in self._infos)
        self.outputs = tuple(info.name for info in results)
        self.weight_bytes = size

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        check_inputs(self._infos, tensors)
        try:
            self._lay_out([tensor.shape for tensor in tensors])
            for details, tensor in zip(self._inputs, tensors, strict=True):
                self._interpreter.set_tensor(details["index"], tensor)
            self._interpreter.invoke()
            results = [self._interpreter.get_tensor(details["index"]) for details in self._outputs]
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the model failed: {_useful(error)}") from None
        return [as_array(result) for result in results]

    def _lay_out(self, shapes: list[tuple[int, ...]]) -> None:
        if shapes == self._shapes:
            return
        self._shapes = None
        for details, shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(details["index"], shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _info(details: Mapping[str, Any]) -> TensorInfo:
    """An input or output as the interpreter tells it."""
    dtype = np.dtype(details["dtype"])
    return TensorInfo(details["name"], np.dtype(object) if dtype.kind == "S" else dtype)


def _useful(error: Exception) -> str:
    return _NODE.sub(" ", _HINT.sub("", one_line(error)))
