"""Tensors on the wire: what was packed comes out, and what does not fit is refused."""

from __future__ import annotations

import struct
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymiss.channel import Tensor, encode, parse_tensors, tensor_parts
from keymiss.channel.frames import FrameReader
from keymiss.errors import ChannelError, TensorError

NUMPY = {
    "FLOAT": "<f4",
    "DOUBLE": "<f8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "BOOL": "?",
}
shapes = st.lists(st.integers(0, 4), max_size=4)


@given(st.sampled_from(sorted(NUMPY)), shapes, st.randoms(use_true_random=False))
def test_values_are_those_that_numpy_reads(dtype: str, shape: list[int], random: object) -> None:
    data = bytes(random.randrange(2 if dtype == "BOOL" else 128) for _ in range(8 * prod(shape)))  # type: ignore[attr-defined]
    data = data[: prod(shape) * np.dtype(NUMPY[dtype]).itemsize]
    tensor = Tensor(dtype, tuple(shape), data)
    assert np.array_equal(np.array(tensor.values), np.frombuffer(data, NUMPY[dtype]), equal_nan=True)
    assert Tensor.from_values(dtype, shape, tensor.values).data == data


@given(st.lists(st.tuples(st.sampled_from(sorted(NUMPY)), shapes), max_size=5))
def test_tensors_come_out_of_a_frame_as_they_went_in(kinds: list[tuple[str, list[int]]]) -> None:
    tensors = [
        Tensor(dtype, tuple(shape), bytes(prod(shape) * np.dtype(NUMPY[dtype]).itemsize))
        for dtype, shape in kinds
    ]
    (frame,) = FrameReader().feed(encode("X", *tensor_parts(tensors), "behind"))
    assert parse_tensors(frame, 1) == (tensors, len(frame) - 1)


def test_strings_are_closed_by_a_nul() -> None:
    tensor = Tensor.from_values("STRING", [2], [b"ab", b""])
    assert (tensor.data, tensor.values) == (b"ab\0\0", [b"ab", b""])


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        ("FLOAT", (2,), b"1234567"),
        ("FLOAT", (-1, -2), b"12345678"),
        ("FLOAT", (1 << 62, 4), b""),
        ("HALF", (1,), b"12"),
        ("STRING", (2,), b"a\0"),
        ("STRING", (1,), b"\0a"),
        ("INT8", (1,) * 65, b"1"),
    ],
)
def test_what_is_no_tensor_is_refused(dtype: str, shape: tuple[int, ...], data: bytes) -> None:
    with pytest.raises(TensorError):
        Tensor(dtype, shape, data)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("INT8", [300]), ("FLOAT", ["x"]), ("INT64", [1 << 70]), ("INT8", [1, 2]), ("HALF", [1.0])],
)
def test_values_that_do_not_fit_are_refused(dtype: str, values: list[object]) -> None:
    with pytest.raises(TensorError):
        Tensor.from_values(dtype, [1], values)  # type: ignore[arg-type]


def test_the_error_tells_how_many_values_there_should_be() -> None:
    with pytest.raises(TensorError, match=r"a tensor of shape \(2, 3\) has 6 values, not 1"):
        Tensor.from_values("FLOAT", [2, 3], [1.0])


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"-1"],
        [b"1"],
        [b"2", b"INT8", struct.pack("<q", 1), b"x"],
        [b"1", b"INT8", b"123", b"x"],
        [b"1", b"\xff", struct.pack("<q", 1), b"x"],
        [b"1", b"INT8", struct.pack("<q", 2), b"x"],
        [b"99999999999999999999"],
    ],
)
def test_malformed_tensors_in_a_frame_are_refused(parts: list[bytes]) -> None:
    with pytest.raises(ChannelError):
        parse_tensors(parts, 0)
