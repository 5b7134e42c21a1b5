"""Tensors of the channel as NumPy arrays, and back."""

from __future__ import annotations

import numpy as np

from keymiss.backends import Array
from keymiss.backends.base import object_array
from keymiss.channel.tensors import DTYPES, Tensor

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
