"""Tensors on the channel: dtype, shape and data, without numpy.

A tensor is three parts of a frame: its dtype as AI.TENSORSET names it, its shape as packed little-
endian int64, and its data, little-endian in C order. A STRING tensor holds its strings one after
the other, each closed by a NUL.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import TypeVar

from keymiss.channel.frames import number
from keymiss.errors import ChannelError, TensorError

# dtype -> its letter for struct, array and memoryview.cast; its size in bytes is that of the letter.
DTYPES = {
    "FLOAT": "f",
    "DOUBLE": "d",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "BOOL": "?",
    "STRING": "",
}
MAX_DIMENSIONS = 64

T = TypeVar("T", bound="Tensor")


@dataclass(frozen=True, repr=False)
class Tensor:
    """An immutable tensor.

    `data` is as on the wire; TensorError where it does not fit `dtype` and `shape`.
    """

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def __post_init__(self) -> None:
        size = _size_of(self.dtype, self.shape)
        if self.dtype == "STRING":
            fits = self.data.count(0) == size and self.data[-1:] in (b"", b"\0")
        else:
            fits = len(self.data) == size
        if not fits:
            raise TensorError(
                f"{len(self.data)} bytes of data do not make a {self.dtype} tensor of shape {self.shape}"
            )

    @classmethod
    def trusted(cls: type[T], dtype: str, shape: tuple[int, ...], data: bytes) -> T:
        """A tensor whose `data` is known to fit: the check is a good part of what a small one costs."""
        tensor = object.__new__(cls)
        tensor.__dict__.update(dtype=dtype, shape=shape, data=data)
        return tensor

    def __repr__(self) -> str:
        return f"<Tensor {self.dtype} {'x'.join(map(str, self.shape)) or 'scalar'}>"

    @cached_property
    def values(self) -> list[int | float | bool | bytes]:
        """All values in C order; of a STRING tensor the bytes of its strings."""
        if self.dtype == "STRING":
            return list(self.data.split(b"\0")[:-1])
        return list(struct.unpack(f"<{prod(self.shape)}{DTYPES[self.dtype]}", self.data))

    @classmethod
    def from_values(
        cls, dtype: str, shape: Sequence[int], values: Sequence[int | float | bool | bytes]
    ) -> Tensor:
        """Pack `values`, in C order. TensorError where they do not fit."""
        if dtype not in DTYPES:
            raise TensorError(f"unknown dtype {dtype!r}")
        try:
            if dtype == "STRING":
                data = b"".join(bytes(value) + b"\0" for value in values)  # type: ignore[arg-type]
            else:
                data = struct.pack(f"<{len(values)}{DTYPES[dtype]}", *values)
        except (struct.error, OverflowError, TypeError) as error:
            raise TensorError(f"values do not fit {dtype}: {error}") from None
        if len(values) != prod(shape):
            raise TensorError(f"a tensor of shape {tuple(shape)} has {prod(shape)} values, not {len(values)}")
        return cls(dtype, tuple(shape), data)

    def parts(self) -> tuple[str, bytes, bytes]:
        """The three parts of a frame."""
        return self.dtype, packed(self.shape), self.data


@lru_cache(maxsize=4096)
def _size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """How many bytes of data make such a tensor; of STRING, how many NULs. TensorError where nothing does."""
    if dtype not in DTYPES:
        raise TensorError(f"unknown dtype {dtype!r}")
    if len(shape) > MAX_DIMENSIONS:
        raise TensorError(f"a tensor has at most {MAX_DIMENSIONS} dimensions, not {len(shape)}")
    if any(dimension < 0 for dimension in shape):
        raise TensorError(f"a dimension cannot be negative: {shape}")
    return prod(shape) * (1 if dtype == "STRING" else struct.calcsize(DTYPES[dtype]))


@lru_cache(maxsize=4096)
def packed(shape: tuple[int, ...]) -> bytes:
    """The second part of a tensor."""
    return struct.pack(f"<{len(shape)}q", *shape)


@lru_cache(maxsize=4096)
def kind_of(dtype: bytes, packed_shape: bytes) -> tuple[str, tuple[int, ...], int]:
    """What the first two parts of a tensor say: its dtype, its shape, and the size of its data (see
    _size_of)."""
    name, shape = dtype.decode(), struct.unpack(f"<{len(packed_shape) // 8}q", packed_shape)
    return name, shape, _size_of(name, shape)


def parse_tensors(parts: list[bytes], start: int) -> tuple[list[Tensor], int]:
    """`<n> (<dtype> <shape> <data>)*n` at parts[start]; returns them and the index behind.

    ChannelError where malformed.
    """
    try:
        count = number(parts[start])
        end = start + 1 + 3 * count
        if count < 0 or end > len(parts):
            raise ChannelError(
                f"malformed frame: {count} tensors announced, {len(parts) - start - 1} parts follow"
            )
        tensors = []
        for at in range(start + 1, end, 3):
            dtype, shape, size = kind_of(parts[at], parts[at + 1])
            data = parts[at + 2]
            known = len(data) == size and dtype != "STRING"
            tensors.append((Tensor.trusted if known else Tensor)(dtype, shape, data))
        return tensors, end
    except (IndexError, struct.error, UnicodeDecodeError, TensorError) as error:
        raise ChannelError(f"malformed tensor in a frame: {error}") from None


def tensor_parts(tensors: Sequence[Tensor]) -> list[bytes | str | int]:
    """`<n> (<dtype> <shape> <data>)*n` for a frame."""
    parts: list[bytes | str | int] = [len(tensors)]
    for tensor in tensors:
        parts.extend(tensor.parts())
    return parts
