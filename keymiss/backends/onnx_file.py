"""ONNX files as bytes: whether one keeps weights in other files, and whether it has loops.

An ONNX tensor may say that its values are in a file, by a path. Runtimes open it; a model that a client
stores has no business there. A protobuf message is a row of fields (number, wire type, value); only those
messages are walked through that can hold a tensor, and the tensors' own bytes are stepped over.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from keymiss.errors import BackendError

# Which fields of a message hold which messages, up to tensors. Names and numbers are those of onnx.proto.
_HELD: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_TAG = (1 << 32) - 1


def check_onnx(path: Path) -> bool:
    """Whether the model is one graph: what is in loops and branches is a graph of its own. BackendError
    unless the file is a protobuf message with a graph, and names no other file."""
    if not path.stat().st_size:
        raise _no_model("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        waiting = _walk(data, "ModelProto", 0, len(data))
        if not any(kind == "GraphProto" for kind, _, _ in waiting):
            raise _no_model("there is no graph in it")
        graphs = 0
        while waiting:  # a stack, since messages may be nested deeper than Python's calls
            kind, start, end = waiting.pop()
            graphs += kind == "GraphProto"
            waiting += _walk(data, kind, start, end)
        return graphs == 1


def _walk(data: mmap.mmap, kind: str, start: int, end: int) -> list[tuple[str, int, int]]:
    """The messages in data[start:end] that may hold a tensor, as (kind, start, end)."""
    held = _HELD.get(kind, {})
    found = []
    at = start
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        if number == 0 or tag > _MAX_TAG:
            raise _no_model("it is no protobuf message")
        if kind == "TensorProto" and number in (_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION):
            value, at = _varint(data, at, end)
            if number == _TENSOR_EXTERNAL_DATA or value != 0:
                raise BackendError("the ONNX model keeps weights in other files: save it as one file")
        elif wire_type == _VARINT:
            _, at = _varint(data, at, end)
        elif wire_type == _BYTES:
            size, at = _varint(data, at, end)
            if number in held and size <= end - at:
                found.append((held[number], at, at + size))
            at += size
        elif wire_type in (_FIXED_64, _FIXED_32):
            at += 8 if wire_type == _FIXED_64 else 4
        else:
            raise _no_model("it is no protobuf message")
    if at != end:
        raise _no_model("it is cut short")
    return found


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for n in range(_MAX_VARINT_BYTES):
        if at + n >= end:
            raise _no_model("it is cut short")
        byte = data[at + n]
        value |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return value, at + n + 1
    raise _no_model("it is no protobuf message")


def _no_model(why: str) -> BackendError:
    return BackendError(f"the blob is no ONNX model: {why}")
