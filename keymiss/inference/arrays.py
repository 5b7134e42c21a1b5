"""Tensors of the channel as NumPy arrays, and back."""

from __future__ import annotations

from math import prod

import numpy as np

from keymiss.backends import Array
from keymiss.backends.base import object_array
from keymiss.channel.tensors import DTYPES, Tensor

_NAME_OF = {np.dtype(letter).newbyteorder("<").str: name for name, letter in DTYPES.items() if letter}


def to_array(tensor: Tensor) -> Array:
    """A writable array with the tensor's values; STRING becomes an object array of bytes."""
    if tensor.dtype == "STRING":
        return object_array(tensor.values, tensor.shape)
    # A copy, since a model may write into its inputs and the frame's bytes must not change.
    data = np.frombuffer(bytearray(tensor.data), np.dtype(DTYPES[tensor.dtype]), prod(tensor.shape))
    return data.reshape(tensor.shape)


def to_tensor(array: Array) -> Tensor:
    """The array's values as a tensor; TensorError for a string that holds a NUL byte."""
    if array.dtype == object:
        return Tensor("STRING", array.shape, b"".join(value + b"\0" for value in array.flat))
    return Tensor(_NAME_OF[array.dtype.str], array.shape, array.tobytes())
