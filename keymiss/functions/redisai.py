"""The module that functions import as `redisAI`: tensors, and models that the models worker runs.

Texts of errors are the recorded ones of RedisAI 1.2 in RedisGears 1.2. Every name is for every thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Any

from keymiss.channel import DTYPES, Tensor
from keymiss.errors import GearsError, TensorError
from keymiss.functions import context, replies
from keymiss.functions.shard import Pending

__all__ = [
    "createModelRunner",
    "createTensorFromBlob",
    "createTensorFromValues",
    "getTensorFromKey",
    "mgetTensorsFromKeyspace",
    "modelRunnerAddInput",
    "modelRunnerAddOutput",
    "modelRunnerRun",
    "modelRunnerRunAsync",
    "msetTensorsInKeyspace",
    "setTensorInKey",
    "tensorGetDataAsBlob",
    "tensorGetDims",
    "tensorToFlatList",
]

NAMES_S = 1.0
MAX_NAMES = 1000
_FLOATS = ("FLOAT", "DOUBLE")
_names: dict[bytes, tuple[tuple[list[str], list[str]], float]] = {}  # by key, and the time until when


class PyTensor(Tensor):
    """A tensor as functions hold it. Immutable: may be shared by threads and kept between calls."""


class PyGraphRunner:
    """A run of a model that is being put together: its key, and inputs and outputs by name."""

    def __init__(self, key: bytes, input_names: list[str], output_names: list[str]) -> None:
        self.key = key
        self.inputs: dict[str, PyTensor] = {}
        self.outputs: list[str] = []
        self._input_names = input_names  # as the model was stored with; empty where it goes by position
        self._output_names = output_names

    def tensors(self) -> list[PyTensor]:
        """The inputs in the order of the model, whatever the order in which they were added."""
        if self._input_names and self.inputs.keys() == set(self._input_names):
            return [self.inputs[name] for name in self._input_names]
        return list(self.inputs.values())

    def results(self, tensors: list[Tensor]) -> list[PyTensor]:
        """The outputs in the order in which they were added.

        GearsError where the model gave another number of them.
        """
        if len(tensors) != len(self.outputs):
            raise GearsError(f"ERR the model gave {len(tensors)} outputs, {len(self.outputs)} were asked for")
        given = [PyTensor(tensor.dtype, tensor.shape, tensor.data) for tensor in tensors]
        if self._output_names and set(self.outputs) == set(self._output_names):
            by_name = dict(zip(self._output_names, given, strict=True))
            return [by_name[name] for name in self.outputs]
        return given


# Tensors


def createTensorFromValues(*arguments: Any) -> PyTensor:
    """createTensorFromValues(dtype, shape, values):

    values in C order, floats for FLOAT and DOUBLE, else ints.
    """
    dtype, dims, values = _arguments("createTensorFromValues", arguments, 3)
    shape = _shape(dtype, dims)
    if not isinstance(values, Iterable):
        raise GearsError("values argument must be iterable")
    flat = list(values)
    if dtype in _FLOATS:
        if not all(isinstance(value, float) for value in flat):
            raise GearsError("values arguments must be double")
    elif dtype != "STRING" and not all(isinstance(value, int) for value in flat):
        raise GearsError("values arguments must be long")
    try:
        if dtype == "STRING":
            flat = [replies.argument(value) for value in flat]
        made = Tensor.from_values(dtype, shape, flat)
    except TensorError as error:
        raise GearsError(f"ERR {error}") from None
    return PyTensor(dtype, shape, made.data)


def createTensorFromBlob(*arguments: Any) -> PyTensor:
    """createTensorFromBlob(dtype, shape, blob): little-endian values in C order."""
    dtype, dims, blob = _arguments("createTensorFromBlob", arguments, 3)
    shape = _shape(dtype, dims)
    try:
        data = bytes(memoryview(blob))
    except TypeError:
        raise GearsError("blob argument must be bytes, byte array or a buffer") from None
    try:
        return PyTensor(dtype, shape, data)
    except TensorError:
        raise GearsError("ERR data length does not match tensor shape and type") from None


def tensorToFlatList(*arguments: Any) -> list[Any]:
    """The values in C order."""
    tensor = _tensor(*_arguments("tensorToFlatList", arguments, 1))
    if tensor.dtype == "STRING":
        return [replies.text(value) for value in tensor.values if isinstance(value, bytes)]
    return list(tensor.values)


def tensorGetDataAsBlob(*arguments: Any) -> bytes:
    """The values as little-endian bytes in C order."""
    return _tensor(*_arguments("tensorGetDataAsBlob", arguments, 1)).data


def tensorGetDims(*arguments: Any) -> tuple[int, ...]:
    """The shape."""
    return _tensor(*_arguments("tensorGetDims", arguments, 1)).shape


# Tensors in keys


def setTensorInKey(*arguments: Any) -> None:
    """setTensorInKey(key, tensor)."""
    key, tensor = _arguments("setTensorInKey", arguments, 2)
    if not isinstance(key, str):
        raise GearsError("key name argument must be a string")
    _store(key, _tensor(tensor))


def getTensorFromKey(*arguments: Any) -> PyTensor:
    """The tensor at a key."""
    return _tensor_of(context.shard().call(_get_tensor("getTensorFromKey", arguments)))


def getTensorFromKeyAsync(*arguments: Any) -> Pending[PyTensor]:
    """As `getTensorFromKey`, to be awaited: other coroutines run until the tensor is there."""
    return context.shard().call_async(_get_tensor("getTensorFromKeyAsync", arguments)).then(_tensor_of)


def msetTensorsInKeyspace(*arguments: Any) -> None:
    """msetTensorsInKeyspace({key: tensor, ...}): all are looked at before the first is stored."""
    (tensors,) = _arguments("msetTensorsInKeyspace", arguments, 1)
    if not isinstance(tensors, Mapping):
        raise GearsError("Given argument is not of type PyDict")
    if not all(isinstance(key, str) for key in tensors):
        raise GearsError("key name argument must be a string")
    checked = {key: _tensor(tensor) for key, tensor in tensors.items()}
    for key, tensor in checked.items():
        _store(key, tensor)


def mgetTensorsFromKeyspace(*arguments: Any) -> list[PyTensor]:
    """The tensors at the keys of a list."""
    (keys,) = _arguments("mgetTensorsFromKeyspace", arguments, 1)
    if not isinstance(keys, Iterable) or isinstance(keys, (str, bytes)):
        raise GearsError("keys argument must be iterable")
    return [getTensorFromKey(key) for key in keys]


# Models


def createModelRunner(*arguments: Any) -> PyGraphRunner:
    """A run of the model at a key, to be given its inputs and outputs."""
    (key,) = _arguments("createModelRunner", arguments, 1)
    if not isinstance(key, str):
        raise GearsError("key argument must be a string")
    name = replies.argument(key)
    return PyGraphRunner(name, *_names_of_model(name))


def modelRunnerAddInput(*arguments: Any) -> None:
    """modelRunnerAddInput(runner, name, tensor)."""
    runner, name, tensor = _arguments("modelRunnerAddInput", arguments, 3)
    _runner(runner)
    if not isinstance(name, str):
        raise GearsError("input name argument must be a string")
    runner.inputs[name] = _tensor(tensor)


def modelRunnerAddOutput(*arguments: Any) -> None:
    """modelRunnerAddOutput(runner, name)."""
    runner, name = _arguments("modelRunnerAddOutput", arguments, 2)
    _runner(runner)
    if not isinstance(name, str):
        raise GearsError("output name argument must be a string")
    runner.outputs.append(name)


def modelRunnerRun(*arguments: Any) -> list[PyTensor]:
    """Run it and wait: the outputs, in the order in which they were added."""
    runner = _runner(*_arguments("modelRunnerRun", arguments, 1))
    return runner.results(context.shard().run_model(runner.key, runner.tensors()))


def modelRunnerRunAsync(*arguments: Any) -> Pending[list[PyTensor]]:
    """Start it at once; to be awaited for the outputs."""
    runner = _runner(*_arguments("modelRunnerRunAsync", arguments, 1))
    return context.shard().run_model_async(runner.key, runner.tensors()).then(runner.results)


def _arguments(function: str, arguments: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    if len(arguments) != count:
        raise GearsError(f"Wrong number of arguments given to {function}")
    return arguments


def _names_of_model(key: bytes) -> tuple[list[str], list[str]]:
    """Names of inputs and outputs that the model at a key was stored with. GearsError: there is none.

    Asked for again when it is older than a second: a coroutine on a miss would otherwise wait for the server
    once more than it has to. A run always sees the model that the key holds then.
    """
    known = _names.get(key)
    if known is not None and monotonic() < known[1]:
        return known[0]
    try:
        meta = context.shard().execute("AI.MODELGET", key, "META")
    except GearsError:
        _names.pop(key, None)
        raise GearsError("given key do not contain RedisAI model") from None
    fields = dict(zip(meta[::2], meta[1::2], strict=False))
    names = (fields.get("inputs") or [], fields.get("outputs") or [])
    if len(_names) >= MAX_NAMES:
        _names.clear()
    _names[key] = (names, monotonic() + NAMES_S)
    return names


def _shape(dtype: Any, dims: Any) -> tuple[int, ...]:
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise GearsError("Failed creating tensor, make sure you put the right data type.")
    if not isinstance(dims, Iterable):
        raise GearsError("dims argument must be iterable")
    shape = tuple(dims)
    if not all(isinstance(dimension, int) for dimension in shape):
        raise GearsError("dims arguments must be long")
    return shape


def _tensor(value: Any) -> PyTensor:
    if not isinstance(value, PyTensor):
        raise GearsError("Given argument is not of type PyTensor")
    return value


def _runner(value: Any) -> PyGraphRunner:
    if not isinstance(value, PyGraphRunner):
        raise GearsError("Given argument is not of type PyGraphRunner")
    return value


def _store(key: str, tensor: PyTensor) -> None:
    shape = [b"%d" % dimension for dimension in tensor.shape]
    try:
        context.shard().execute("AI.TENSORSET", key, tensor.dtype, *shape, "BLOB", tensor.data)
    except GearsError as error:
        if str(error).startswith("WRONGTYPE"):
            raise GearsError("ERR Key is already set with non tensor values.") from None
        raise


def _get_tensor(function: str, arguments: tuple[Any, ...]) -> list[bytes]:
    (key,) = _arguments(function, arguments, 1)
    if not isinstance(key, str):
        raise GearsError("key name argument must be a string")
    return [b"AI.TENSORGET", replies.argument(key), b"META", b"BLOB"]


def _tensor_of(reply: bytes) -> PyTensor:
    try:
        _, dtype, _, shape, _, data = replies.bytes_from_resp(reply)
    except GearsError as error:
        if str(error).startswith("WRONGTYPE"):
            raise GearsError("ERR key is not a tensor") from None
        if str(error).startswith("ERR tensor key is empty"):
            raise GearsError("ERR tensor key is empty") from None
        raise
    return PyTensor(dtype.decode(), tuple(shape), data)
