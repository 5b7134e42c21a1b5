"""Tensors as functions hold them, and in keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keymiss.channel import DTYPES, Tensor
from keymiss.errors import GearsError, TensorError
from keymiss.functions import context, replies
from keymiss.functions.answers import Pending
from keymiss.functions.redisai.arguments import arguments, items, name

_FLOATS = ("FLOAT", "DOUBLE")


class PyTensor(Tensor):
    """A tensor as functions hold it. Immutable: may be shared by threads and kept between calls."""


def createTensorFromValues(*given: Any) -> PyTensor:
    """createTensorFromValues(dtype, shape, values):

    values in C order, floats for FLOAT and DOUBLE, else ints.
    """
    dtype, dims, values = arguments("createTensorFromValues", given, 3)
    shape = _shape(dtype, dims)
    flat = items(values, "values argument")
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


def createTensorFromBlob(*given: Any) -> PyTensor:
    """createTensorFromBlob(dtype, shape, blob): little-endian values in C order."""
    dtype, dims, blob = arguments("createTensorFromBlob", given, 3)
    shape = _shape(dtype, dims)
    try:
        data = bytes(memoryview(blob))
    except TypeError:
        raise GearsError("blob argument must be bytes, byte array or a buffer") from None
    try:
        return PyTensor(dtype, shape, data)
    except TensorError:
        raise GearsError("ERR data length does not match tensor shape and type") from None


def tensorToFlatList(*given: Any) -> list[Any]:
    """The values in C order."""
    tensor = tensor_of(*arguments("tensorToFlatList", given, 1))
    if tensor.dtype == "STRING":
        return [replies.text(value) for value in tensor.values if isinstance(value, bytes)]
    return list(tensor.values)


def tensorGetDataAsBlob(*given: Any) -> bytearray:
    """The values as little-endian bytes in C order: a copy, to be changed freely."""
    return bytearray(tensor_of(*arguments("tensorGetDataAsBlob", given, 1)).data)


def tensorGetDims(*given: Any) -> tuple[int, ...]:
    """The shape."""
    return tensor_of(*arguments("tensorGetDims", given, 1)).shape


# Tensors in keys


def setTensorInKey(*given: Any) -> None:
    """setTensorInKey(key, tensor)."""
    key, tensor = arguments("setTensorInKey", given, 2)
    _store(name(key, "key name"), tensor_of(tensor))


def getTensorFromKey(*given: Any) -> PyTensor:
    """The tensor at a key."""
    return _from_reply(context.shard().call(_get_command("getTensorFromKey", given)))


def getTensorFromKeyAsync(*given: Any) -> Pending[PyTensor]:
    """As `getTensorFromKey`, to be awaited: other coroutines run until the tensor is there."""
    return context.shard().call_async(_get_command("getTensorFromKeyAsync", given)).then(_from_reply)


def msetTensorsInKeyspace(*given: Any) -> None:
    """msetTensorsInKeyspace({key: tensor, ...}): all are looked at before the first is stored."""
    (tensors,) = arguments("msetTensorsInKeyspace", given, 1)
    if not isinstance(tensors, Mapping):
        raise GearsError("Given argument is not of type PyDict")
    checked = {name(key, "key name"): tensor_of(tensor) for key, tensor in tensors.items()}
    for key, tensor in checked.items():
        _store(key, tensor)


def mgetTensorsFromKeyspace(*given: Any) -> list[PyTensor]:
    """The tensors at the keys of a list."""
    (keys,) = arguments("mgetTensorsFromKeyspace", given, 1)
    return [getTensorFromKey(key) for key in items(keys, "keys argument")]


# For the runners


def tensor_of(value: Any, kind: str = "PyTensor") -> PyTensor:
    """The argument, which must be a tensor."""
    if not isinstance(value, PyTensor):
        raise GearsError(f"Given argument is not of type {kind}")
    return value


def name_first(name: Any, tensor: Any) -> tuple[Any, Any]:
    """A tensor's name and the tensor, which may be given in either order: documents have shown both."""
    return (tensor, name) if isinstance(name, PyTensor) else (name, tensor)


def tensorset(key: str | bytes, tensor: Tensor) -> list[bytes]:
    """The AI.TENSORSET that stores it."""
    shape = [b"%d" % dimension for dimension in tensor.shape]
    return [
        b"AI.TENSORSET",
        replies.argument(key),
        tensor.dtype.encode(),
        *shape,
        b"BLOB",
        tensor.data,
    ]


def tensorget(key: str | bytes) -> list[bytes]:
    """The AI.TENSORGET that `parsed` understands the reply of."""
    return [b"AI.TENSORGET", replies.argument(key), b"META", b"BLOB"]


def parsed(reply: list[Any]) -> PyTensor:
    """The tensor that AI.TENSORGET answered with META and BLOB."""
    _, dtype, _, shape, _, data = reply
    return PyTensor(dtype.decode(), tuple(shape), data)


def _shape(dtype: Any, dims: Any) -> tuple[int, ...]:
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise GearsError("Failed creating tensor, make sure you put the right data type.")
    shape = tuple(items(dims, "dims argument"))
    for dimension in shape:
        if not isinstance(dimension, int):
            raise GearsError("dims arguments must be long")
    return shape


def _store(key: str, tensor: PyTensor) -> None:
    try:
        replies.from_resp(context.shard().call(tensorset(key, tensor)))
    except GearsError as error:
        if str(error).startswith("WRONGTYPE"):
            raise GearsError("ERR Key is already set with non tensor values.") from None
        raise


def _get_command(function: str, given: tuple[Any, ...]) -> list[bytes]:
    (key,) = arguments(function, given, 1)
    return tensorget(name(key, "key name"))


def _from_reply(reply: bytes) -> PyTensor:
    try:
        return parsed(replies.bytes_from_resp(reply))
    except GearsError as error:
        if str(error).startswith("WRONGTYPE"):
            raise GearsError("ERR key is not a tensor") from None
        if str(error).startswith("ERR tensor key is empty"):
            raise GearsError("ERR tensor key is empty") from None
        raise
