"""TensorFlow graphs as bytes, put together without TensorFlow, whose import costs seconds.

    graph(placeholder("a", FLOAT, None, 2), node("y", "Neg", "a", T=FLOAT))

A protobuf message is a row of fields; their numbers are those of graph.proto, node_def.proto and
attr_value.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Kind:
    """A dtype, by its number in types.proto."""

    number: int


FLOAT, DOUBLE, INT32, STRING, INT64, BOOL, HALF = map(Kind, (1, 2, 3, 7, 9, 10, 19))
_KIND_OF = {"float32": FLOAT, "int32": INT32, "int64": INT64}


def graph(*nodes: bytes, functions: bytes = b"") -> bytes:
    """A GraphDef."""
    library = _field(2, functions) if functions else b""
    return b"".join(_field(1, node) for node in nodes) + library + _field(4, _number(1, 1087))


def node(name: str, operator: str, *inputs: str, **attributes: object) -> bytes:
    """A NodeDef. Attributes: a Kind, a shape (a tuple), bytes, a bool, a number, an array."""
    return (
        _field(1, name.encode())
        + _field(2, operator.encode())
        + b"".join(_field(3, one.encode()) for one in inputs)
        + b"".join(_attribute(key, value) for key, value in attributes.items())
    )


def placeholder(name: str, kind: Kind, *shape: int | None) -> bytes:
    return node(name, "Placeholder", dtype=kind, shape=shape)


def constant(name: str, values: object, kind: str = "float32") -> bytes:
    array = np.asarray(values, kind)
    return node(name, "Const", dtype=_KIND_OF[kind], value=array)


def text(name: str, value: bytes) -> bytes:
    """A constant string."""
    return node(name, "Const", dtype=STRING, value=value)


def one_function(name: str, body: bytes) -> bytes:
    """A library of one function of no arguments, with one node in it."""
    return _field(1, _field(1, _field(1, name.encode())) + _field(3, body))


@cache
def product() -> bytes:
    """mul = a * b, float32 of two columns."""
    return graph(
        placeholder("a", FLOAT, None, 2),
        placeholder("b", FLOAT, None, 2),
        node("mul", "Mul", "a", "b", T=FLOAT),
    )


def _attribute(key: str, value: object) -> bytes:
    return _field(5, _field(1, key.encode()) + _field(2, _attribute_value(key, value)))


def _attribute_value(key: str, value: object) -> bytes:
    if isinstance(value, Kind):
        return _number(6, value.number)
    if isinstance(value, tuple):
        return _field(7, _shape(value))
    if isinstance(value, bool):
        return _number(5, int(value))
    if isinstance(value, int):
        return _number(3, value)
    if isinstance(value, np.ndarray):
        head = _number(1, _KIND_OF[value.dtype.name].number) + _field(2, _shape(value.shape))
        return _field(8, head + _field(4, value.tobytes()))
    assert isinstance(value, bytes), value
    if key == "value":  # of a constant
        return _field(8, _number(1, STRING.number) + _field(2, b"") + _field(8, value))
    return _field(10, _field(1, value)) if key == "f" else _field(2, value)


def _shape(sizes: tuple[int | None, ...]) -> bytes:
    return b"".join(_field(2, _number(1, -1 if size is None else size)) for size in sizes)


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
