"""The module `redisAI` inside functions: tensors, keys, and models run by the models worker."""

from __future__ import annotations

import pytest
import redis
from redis.exceptions import ResponseError

PRELUDE = "import redisAI\nT = redisAI.createTensorFromValues('FLOAT', [2, 2], [1.0, 2.0, 3.0, 4.0])\n"


def evaluated(client: redis.Redis, expression: str, before: str = "") -> str:
    """The repr of an expression inside a script."""
    client.execute_command("RG.PYEXECUTE", f"{PRELUDE}{before}\nexecute('SET', 'result', repr({expression}))")
    value = client.get("result")
    assert isinstance(value, bytes)
    return value.decode()


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("redisAI.tensorToFlatList(T)", "[1.0, 2.0, 3.0, 4.0]"),
        ("redisAI.tensorGetDims(T)", "(2, 2)"),
        ("len(redisAI.tensorGetDataAsBlob(T))", "16"),
        (
            "redisAI.tensorToFlatList(redisAI.createTensorFromBlob('INT16', [2], b'\\x01\\x00\\xff\\xff'))",
            "[1, -1]",
        ),
        (
            "redisAI.tensorToFlatList(redisAI.createTensorFromBlob('UINT8', [2], memoryview(b'ab')))",
            "[97, 98]",
        ),
        ("redisAI.tensorToFlatList(redisAI.createTensorFromValues('STRING', [2], ['a', 'é']))", "['a', 'é']"),
        ("type(T).__name__", "'PyTensor'"),
    ],
)
def test_tensors_are_made_and_read(client: redis.Redis, expression: str, shown: str) -> None:
    assert evaluated(client, expression) == shown


@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16"])
def test_a_tensor_survives_its_key(client: redis.Redis, dtype: str) -> None:
    value = "1.0" if dtype in ("FLOAT", "DOUBLE") else "1"
    before = (
        f"t = redisAI.createTensorFromValues('{dtype}', [3, 1], [{value}] * 3)\n"
        "redisAI.setTensorInKey('t', t)\n"
        "back = redisAI.getTensorFromKey('t')"
    )
    assert evaluated(client, "(back == t, back.dtype, back.shape)", before) == f"(True, '{dtype}', (3, 1))"
    assert client.execute_command("AI.TENSORGET", "t", "META")[1] == dtype.encode()


def test_tensors_go_in_and_out_of_keys_together(client: redis.Redis) -> None:
    before = "redisAI.msetTensorsInKeyspace({'a': T, 'b': T})"
    assert evaluated(client, "redisAI.mgetTensorsFromKeyspace(['a', 'b']) == [T, T]", before) == "True"


def test_nothing_is_stored_where_one_value_is_no_tensor(client: redis.Redis) -> None:
    with pytest.raises(ResponseError, match="not of type PyTensor"):
        evaluated(client, "redisAI.msetTensorsInKeyspace({'a': T, 'b': 1})")
    assert not client.exists("a")


@pytest.mark.parametrize(
    "expression",
    [
        "redisAI.createTensorFromValues('FLOAT', [-1], [1.0])",
        "redisAI.createTensorFromValues('FLOAT', [1 << 62, 4], [])",
        "redisAI.createTensorFromValues('FLOAT', [2], [1.0])",
        "redisAI.createTensorFromValues('INT8', [1], [1000])",
        "redisAI.createTensorFromBlob('STRING', [2], b'no end')",
        "redisAI.setTensorInKey(b'k', T)",
        "redisAI.getTensorFromKey('\\ud800')",
        "redisAI.createModelRunner('nokey')",
        "redisAI.modelRunnerRun(T)",
        "redisAI.mgetTensorsFromKeyspace(5)",
    ],
)
def test_what_does_not_fit_is_an_error(client: redis.Redis, expression: str) -> None:
    with pytest.raises(ResponseError, match=r"gears\.error"):
        evaluated(client, expression)
    assert client.ping()
