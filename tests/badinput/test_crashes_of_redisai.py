"""What brought RedisAI down, hung it, or was nonsense that it took, gets one answer here.

The numbers are those of `original_crashes.md`, beside the recordings; scripts and DAGs have a file of their
own.
"""

from __future__ import annotations

import pytest
import redis
from support import torch_models

HUGE_SHAPES = {
    "4-no-data": ("INT8", 9223372036854775807),
    "5-product-overflows": ("INT8", 3037000500, 3037000500),
    "6-product-is-zero": ("FLOAT", 4294967296, 4294967296),
    "12-strings": ("STRING", 1000000000000),
    "17-with-an-empty-blob": ("FLOAT", 4294967296, 4294967296, "BLOB", ""),
    "17-of-strings": ("STRING", 4294967296, 4294967296),
    "18-lazily-mapped": ("FLOAT", 1000000, 1000000),
}


@pytest.fixture
def model(client: redis.Redis) -> redis.Redis:
    """A client of a server with a model `m` of one input and one output, and a tensor `x` for it."""
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0, 2.0)
    return client


def _refused(client: redis.Redis, match: str, *command: object) -> None:
    """By one error: the connection is still in step."""
    with pytest.raises(redis.ResponseError, match=match):
        client.execute_command(*command)
    assert client.echo("in step") == b"in step"


@pytest.mark.parametrize("shape", HUGE_SHAPES.values(), ids=HUGE_SHAPES)
def test_a_tensor_that_no_memory_holds_is_refused(client: redis.Redis, shape: tuple[object, ...]) -> None:
    _refused(client, "", "AI.TENSORSET", "h", *shape)
    assert not client.exists("h")


@pytest.mark.parametrize("command", ["AI.MODELSTORE", "AI.MODELSET"])
@pytest.mark.parametrize("holds", ["string", "tensor"])
def test_a_model_over_something_else_is_refused(client: redis.Redis, command: str, holds: str) -> None:
    """1 and 2."""
    if holds == "string":
        client.set("m", "1")
    else:
        torch_models.set_tensor(client, "m", 1.0)
    _refused(client, "WRONGTYPE", command, "m", "TORCH", "CPU", "BLOB", torch_models.doubler())


def test_a_result_of_a_dtype_without_a_name_is_refused(client: redis.Redis) -> None:
    """7."""
    torch_models.store(client, "m", torch_models.half())
    torch_models.set_tensor(client, "x", 1.0, 2.0)
    _refused(client, "float16", "AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
    assert not client.exists("y")


def test_a_batch_that_never_fills_ends_by_the_job_timeout(model: redis.Redis) -> None:
    """14."""
    rule = ("BATCHSIZE", 4, "MINBATCHSIZE", 4)
    model.execute_command("AI.MODELSTORE", "lonely", "TORCH", "CPU", *rule, "BLOB", torch_models.doubler())
    model.config_set("keymiss.job-timeout-ms", 1000)
    try:
        _refused(model, "1000 ms", "AI.MODELEXECUTE", "lonely", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
    finally:
        model.config_set("keymiss.job-timeout-ms", 30000)


@pytest.mark.parametrize("output", ["text", "m"])
def test_an_output_over_something_else_gets_one_error(model: redis.Redis, output: str) -> None:
    """15."""
    model.set("text", "1")
    _refused(model, "WRONGTYPE", "AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, output)
    _refused(model, "WRONGTYPE", "AI.MODELRUN", "m", "INPUTS", "x", "OUTPUTS", output)
    assert model.get("text") == b"1"


def test_an_empty_string_is_a_value(client: redis.Redis) -> None:
    """19 and 20."""
    client.execute_command("AI.TENSORSET", "t", "STRING", 1, "VALUES", "")
    assert client.execute_command("AI.TENSORGET", "t", "VALUES") == [b""]
    _refused(client, "", "AI.TENSORSET", "t", "STRING", 1, "BLOB", "")


DAMAGED = "0781008fd310d48e44024064020802010202050661620063640002000203000a00c1f19df1928c2521"


def test_a_payload_of_the_original_that_is_cut_is_refused(client: redis.Redis) -> None:
    """10."""
    _refused(client, "", "RESTORE", "z", 0, bytes.fromhex(DAMAGED))


def test_a_scalar_for_a_model_with_batches_is_answered(model: redis.Redis) -> None:
    """23: one sample, not what lies behind the shape."""
    model.execute_command(
        "AI.MODELSTORE", "b", "TORCH", "CPU", "BATCHSIZE", 4, "BLOB", torch_models.doubler()
    )
    model.execute_command("AI.TENSORSET", "scalar", "FLOAT", "VALUES", 2)
    try:
        model.execute_command("AI.MODELEXECUTE", "b", "INPUTS", 1, "scalar", "OUTPUTS", 1, "y")
    except redis.ResponseError:
        assert not model.exists("y")
    counters = model.execute_command("AI.INFO", "b")
    assert counters[counters.index(b"samples") + 1] in (0, 1)
    assert model.echo("in step") == b"in step"
