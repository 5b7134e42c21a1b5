"""TF: frozen TensorFlow graphs (GraphDef), run in sessions of TensorFlow."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keymiss.backends import tf_operators
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

_SAVED_MODEL = b"\x08\x01\x12"  # how saved_model.pb begins: the version of its schema, then its graphs
_ORIGIN = re.compile(r"^Graph execution error:.*\nNode: '[^'\n]*'\n", re.DOTALL)
_NAMED_IN_ERRORS = 8  # placeholders


class TensorFlowBackend(Backend):
    name: ClassVar[str] = "TF"
    library: ClassVar[str] = "tensorflow"
    install: ClassVar[str] = "pip install 'keymiss[tf]'"
    takes_names: ClassVar[bool] = True
    batches: ClassVar[bool] = True
    maps_weights: ClassVar[bool] = False

    def __init__(self, threads: int) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors: what it tells otherwise is no news
        import tensorflow

        self._tf: Any = tensorflow
        self._threads = threads
        self._gpus = len(tensorflow.config.list_physical_devices("GPU"))

    def devices(self) -> tuple[Device, ...]:
        return (Device("CPU"), *(Device("GPU", n) for n in range(self._gpus)))

    def load(self, path: Path, device: Device, inputs: Sequence[str], outputs: Sequence[str]) -> Model:
        self.require(device)
        definition = self._parse(path.read_bytes())
        for node in _nodes(definition):
            if (wrong := tf_operators.what_is_wrong_with(node.op)) is not None:
                raise BackendError(wrong)
            # Where it runs is the client's choice, not that of whoever saved the graph.
            node.device = f"/device:GPU:{device.number}" if device.kind == "GPU" else ""
        weight_bytes = sum(n.attr["value"].ByteSize() for n in definition.node if n.op == "Const")
        graph = self._tf.Graph()
        try:
            with graph.as_default():
                self._tf.import_graph_def(definition, name="")
        except (ValueError, TypeError, self._tf.errors.OpError) as error:
            raise BackendError(f"TensorFlow does not take the graph: {_useful(error)}") from None
        feeds = [_tensor(graph, name, "input") for name in inputs]
        fetches = [_tensor(graph, name, "output") for name in outputs]
        if len(set(map(id, feeds))) < len(feeds):
            raise BackendError("two of the INPUTS are the same tensor")
        try:
            session = self._tf.compat.v1.Session(graph=graph, config=self._config(device))
            call = session.make_callable(fetches, feed_list=feeds)
        except (ValueError, self._tf.errors.OpError) as error:
            raise BackendError(f"TensorFlow cannot run the graph: {_useful(error)}") from None
        return TensorFlowModel(self._tf, call, feeds, fetches, (tuple(inputs), tuple(outputs)), weight_bytes)

    def _parse(self, blob: bytes) -> Any:
        """The GraphDef in `blob`."""
        from google.protobuf.message import DecodeError

        if blob.startswith(_SAVED_MODEL):
            raise BackendError("the blob is a SavedModel, and a frozen GraphDef is wanted: freeze it first")
        definition = self._tf.compat.v1.GraphDef()
        try:
            definition.ParseFromString(blob)
        except DecodeError:
            raise BackendError("the blob is no GraphDef") from None
        if not definition.node:
            raise BackendError("the blob is no GraphDef: it has no nodes")
        return definition

    def _config(self, device: Device) -> Any:
        """A session that has the threads of this backend, which all sessions share, and one device."""
        config = self._tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=self._threads,
            inter_op_parallelism_threads=1,
            allow_soft_placement=True,  # some operators have nothing to do on a GPU
        )
        config.gpu_options.allow_growth = True
        if device.kind == "CPU":
            config.device_count["GPU"] = 0
        return config


class TensorFlowModel(Model):
    """A graph with its inputs and outputs chosen."""

    mapped_bytes = 0

    def __init__(
        self,
        tf: Any,
        call: Callable[..., Sequence[Any]],
        feeds: Sequence[Any],
        fetches: Sequence[Any],
        names: tuple[tuple[str, ...], tuple[str, ...]],
        weight_bytes: int,
    ) -> None:
        self._tf, self._call = tf, call
        self.inputs, self.outputs = names
        self._infos = [_info(name, tensor) for name, tensor in zip(self.inputs, feeds, strict=True)]
        results = [_info(name, tensor) for name, tensor in zip(self.outputs, fetches, strict=True)]
        require_dtypes(self._infos, results)
        self.weight_bytes = weight_bytes

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        check_inputs(self._infos, tensors)
        try:
            results = self._call(*tensors)
        except (self._tf.errors.OpError, ValueError, TypeError) as error:
            raise ModelError(f"the model failed: {_useful(error)}") from None
        return [as_array(result) for result in results]


def _nodes(definition: Any) -> list[Any]:
    """Every node of a GraphDef, those in its functions too."""
    return [*definition.node, *(node for f in definition.library.function for node in f.node_def)]


def _tensor(graph: Any, name: str, side: str) -> Any:
    """The tensor called `node` or `node:n`. BackendError where there is none."""
    node, colon, number = name.partition(":")
    operation = next((one for one in graph.get_operations() if one.name == node), None)
    if operation is None:
        raise BackendError(f"the graph has no node {node!r} for the {side} {name!r}{_placeholders(graph)}")
    position = int(number) if number.isascii() and number.isdigit() else -1 if colon else 0
    if not 0 <= position < len(operation.outputs):
        raise BackendError(f"the node {node!r} has {len(operation.outputs)} outputs, and none is {name!r}")
    return operation.outputs[position]


def _placeholders(graph: Any) -> str:
    names = [one.name for one in graph.get_operations() if one.type.startswith("Placeholder")]
    shown = ", ".join(names[:_NAMED_IN_ERRORS]) + (", ..." if len(names) > _NAMED_IN_ERRORS else "")
    return f"; its placeholders are {shown}" if names else ""


def _info(name: str, tensor: Any) -> TensorInfo:
    """An input or output as the graph tells it."""
    shape = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
    kind = tensor.dtype
    return TensorInfo(name, np.dtype(kind.as_numpy_dtype) if kind.is_numpy_compatible else kind.name, shape)


def _useful(error: Exception) -> str:
    """The message without where in Python the graph was made, which is before it or behind it."""
    text = getattr(error, "message", None) or str(error)
    return one_line(_ORIGIN.sub("", text.split("\n\nOriginal stack trace")[0]))
