"""TensorFlow Lite models as bytes, put together with LiteRT's schema: a converter needs all of TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

FLOAT, STRING, BOOL = schema.TensorType.FLOAT32, schema.TensorType.STRING, schema.TensorType.BOOL
INT32, HALF = schema.TensorType.INT32, schema.TensorType.FLOAT16
ADD, MUL, NOT, GATHER = (
    getattr(schema.BuiltinOperator, name) for name in ("ADD", "MUL", "LOGICAL_NOT", "GATHER")
)
CUSTOM = schema.BuiltinOperator.CUSTOM
_VERSION = 3


def model(
    tensors: Sequence[tuple[str, int, Sequence[int]]],
    operators: Sequence[tuple[int, Sequence[int], Sequence[int]]],
    inputs: Sequence[int],
    outputs: Sequence[int],
    custom: str = "",
) -> bytes:
    """`tensors` are (name, type, shape with -1 for any), `operators` (code, inputs, outputs) by positions of
    tensors; `custom` is the name of the operators whose code is CUSTOM."""
    flat = schema.ModelT()
    flat.version, flat.description = _VERSION, "made by a test"
    flat.buffers = [schema.BufferT()]  # the first one is for tensors without values
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(*one) for one in tensors]
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    codes = sorted({code for code, _, _ in operators})
    graph.operators = [_operator(codes.index(code), given, made) for code, given, made in operators]
    flat.operatorCodes = [_code(code, custom) for code in codes]
    flat.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(flat.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@cache
def sum_and_product() -> bytes:
    """Two inputs a and b, two outputs, a + b and a * b, float32 of two columns."""
    tensors = [(name, FLOAT, (-1, 2)) for name in ("a", "b", "sum", "product")]
    return model(tensors, [(ADD, [0, 1], [2]), (MUL, [0, 1], [3])], [0, 1], [2, 3])


def _tensor(name: str, kind: int, shape: Sequence[int]) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.type = name, kind
    tensor.shape, tensor.shapeSignature = [max(1, size) for size in shape], list(shape)
    return tensor


def _operator(code: int, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, list(inputs), list(outputs)
    return operator


def _code(number: int, custom: str) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
    code.customCode = custom if number == CUSTOM else None
    return code
