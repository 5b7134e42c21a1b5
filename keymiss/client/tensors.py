"""numpy arrays as AI.TENSORSET takes them and as AI.TENSORGET gives them.

Data is copied only where it has to be: an array that is C-contiguous and little-endian is sent from its own
memory, and an array that was asked for lies in the reply's own bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..channel.tensors import DTYPES
from ..errors import TensorError

Array = NDArray[Any]

_NUMPY = {name: np.dtype(letter).newbyteorder("<") for name, letter in DTYPES.items() if letter}
_NAMES = {dtype: name for name, dtype in _NUMPY.items()}
_STRING_KINDS = "SUOT"  # bytes, str, object, and numpy 2's StringDType
_ESCAPED = "surrogateescape"  # what is no UTF-8 comes back as the bytes that it was


def dtype_name(dtype: DTypeLike) -> str:
    """The dtype as AI.TENSORSET names it. `dtype` is such a name in any case, or whatever numpy.dtype takes
    ("float" is the former: FLOAT, 32 bits). TensorError where no tensor can hold it."""
    if isinstance(dtype, np.dtype) and dtype in _NAMES:
        return _NAMES[dtype]
    if isinstance(dtype, str) and dtype.upper() in DTYPES:
        return dtype.upper()
    try:
        asked = np.dtype(dtype)
    except TypeError as error:
        raise TensorError(f"dtype {dtype!r}: {error}") from None
    if asked.kind in _STRING_KINDS:
        return "STRING"
    name = _NAMES.get(asked.newbyteorder("<"))
    if name is None:
        raise TensorError(f"a tensor cannot be {asked}: it is one of {', '.join(DTYPES)}")
    return name


def tensor_arguments(
    tensor: ArrayLike, shape: Sequence[int] | None = None, dtype: DTypeLike | None = None
) -> list[Any]:
    """`<dtype> <dimension>... BLOB <data>` for AI.TENSORSET.

    `tensor` is an array of any shape, or what numpy makes one of; it is converted to `dtype` and given
    `shape` where those are told. The data is a view of the array's memory wherever that is as it is sent.
    TensorError where the array, shape and dtype do not fit together.
    """
    try:
        array = np.asarray(tensor) if dtype is None else np.asarray(tensor, _held(dtype_name(dtype)))
        array = array if shape is None else array.reshape(tuple(shape))
    except (ValueError, TypeError, OverflowError) as error:
        raise error if isinstance(error, TensorError) else TensorError(str(error)) from None
    name = dtype_name(array.dtype)
    data = _joined(array) if name == "STRING" else _bytes_of(np.asarray(array, _NUMPY[name], order="C"))
    return [name, *array.shape, "BLOB", data]


def array_of(dtype: str, shape: Sequence[int], blob: bytes, mutable: bool = False) -> Array:
    """The array that AI.TENSORGET told: of `shape`, and read-only, since it lies in `blob`; a writable copy
    where `mutable`. A STRING tensor becomes an array of str, always writable."""
    if dtype == "STRING":
        strings = [string.decode(errors=_ESCAPED) for string in blob.split(b"\0")[:-1]]
        return np.array(strings, dtype=np.str_).reshape(tuple(shape))
    array = np.frombuffer(blob, _NUMPY[dtype]).reshape(tuple(shape))
    return array.copy() if mutable else array


def value_of(value: Any, dtype: str) -> int | float | str:
    """One value that AI.TENSORGET VALUES told, as RESP2 or RESP3 give it."""
    if isinstance(value, bytes):
        text = value.decode(errors=_ESCAPED)
        return text if dtype == "STRING" else float(text)
    return float(value) if dtype in ("FLOAT", "DOUBLE") else int(value)


def _held(name: str) -> np.dtype[Any]:
    """How numpy holds it on its way out."""
    return np.dtype(object) if name == "STRING" else _NUMPY[name]


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _joined(array: Array) -> bytes:
    """The strings one after the other, each closed by a NUL."""
    parts: list[bytes] = []
    for string in array.ravel().tolist():
        if not isinstance(string, (str, bytes)):
            raise TensorError(f"a STRING tensor holds str or bytes, not {type(string).__name__}")
        part = _utf8(string) if isinstance(string, str) else string
        if b"\0" in part:
            raise TensorError(f"a string in a tensor cannot hold a NUL byte: {string!r}")
        parts += (part, b"\0")
    return b"".join(parts)


def _utf8(string: str) -> bytes:
    try:
        return string.encode(errors=_ESCAPED)
    except UnicodeEncodeError as error:
        raise TensorError(f"a string in a tensor must be text: {error}") from None
