"""Tensors of the channel as NumPy arrays, and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from keymiss.backends import Array
from keymiss.backends.base import object_array
from keymiss.channel.frames import element
from keymiss.channel.tensors import DTYPES, Tensor, kind_of, packed
from keymiss.errors import TensorError

_DTYPE_OF = {name: np.dtype(letter).newbyteorder("<") for name, letter in DTYPES.items() if letter}
_NAME_OF = {dtype: name for name, dtype in _DTYPE_OF.items()}


def to_array(tensor: Tensor) -> Array:
    """A writable array with the tensor's values; STRING becomes an object array of bytes."""
    if tensor.dtype == "STRING":
        return object_array(tensor.values, tensor.shape)
    # A copy, since a model may write into its inputs and the frame's bytes must not change.
    array: Array = np.ndarray(tensor.shape, _DTYPE_OF[tensor.dtype], bytearray(tensor.data))
    return array


def to_tensor(array: Array) -> Tensor:
    """The array's values as a tensor; TensorError for a string that holds a NUL byte."""
    if array.dtype == object:
        return Tensor("STRING", array.shape, b"".join(value + b"\0" for value in array.flat))
    return Tensor.trusted(_NAME_OF[array.dtype], array.shape, array.tobytes())


def array_of_parts(dtype: bytes, shape: bytes, data: bytes) -> Array:
    """A tensor's three parts of a frame as to_array gives them. ValueError for STRING, and for what is
    malformed."""
    form, dimensions, size = layout_of(dtype, shape)
    if len(data) != size:
        raise ValueError("the data does not fit the shape")
    array: Array = np.ndarray(dimensions, form, bytearray(data))
    return array


def array_of_all(dtype: bytes, shape: bytes, data: Sequence[bytes]) -> Array:
    """Tensors of one dtype and shape, all of the right size, along a new first axis. ValueError for
    STRING."""
    form, dimensions, _ = layout_of(dtype, shape)
    array: Array = np.ndarray((len(data), *dimensions), form, bytearray().join(data))
    return array


def encoded(array: Array) -> bytes:
    """The three elements of a frame; errors as to_tensor."""
    if array.dtype == object:
        return b"".join(element(part) for part in to_tensor(array).parts())
    return b"%b%b\r\n" % (_head(array.dtype, array.shape), array.tobytes())


def all_encoded(array: Array) -> list[bytes]:
    """Of each part of an array along its first axis: what `encoded` gives."""
    if array.dtype == object:
        return list(map(encoded, array))
    head, data = _head(array.dtype, array.shape[1:]), array.tobytes()
    size = len(data) // len(array)
    return [b"%b%b\r\n" % (head, data[at * size : (at + 1) * size]) for at in range(len(array))]


@lru_cache(maxsize=4096)
def layout_of(dtype: bytes, shape: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """dtype, shape and size in bytes of a tensor as a frame says it. ValueError for STRING, and for what is
    malformed."""
    try:
        name, dimensions, size = kind_of(dtype, shape)
        return _DTYPE_OF[name], dimensions, size
    except (TensorError, struct.error, KeyError) as error:  # KeyError: STRING
        raise ValueError(f"no numbers of a fixed size: {error}") from None


@lru_cache(maxsize=4096)
def _head(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """What comes before the data."""
    size = dtype.itemsize * math.prod(shape)
    return b"%b%b$%d\r\n" % (element(_NAME_OF[dtype]), element(packed(shape)), size)
