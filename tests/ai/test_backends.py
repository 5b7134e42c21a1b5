"""Models of every backend through a server: stored, described, run, batched, kept. What each backend takes
and refuses is tested without one, in tests/inference/test_backends.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from inference import small_models
from support import graph_defs, tflite_models, torch_models
from support.running import sent
from support.server import Server


@dataclass(frozen=True)
class Example:
    """A model that gives a * b, or the linear model of small_models."""

    backend: str
    blob: bytes
    inputs: tuple[str, ...]  # as AI.MODELGET tells them
    outputs: tuple[str, ...]
    names: tuple[object, ...] = ()  # as AI.MODELSTORE wants them
    given: tuple[float, ...] = (1, 2, 3)  # a row of each input
    result: tuple[float, ...] = (4, 8.25)  # a row of the last output

    def store(self, client: redis.Redis, key: str, *options: object) -> Any:
        command = ("AI.MODELSTORE", key, self.backend, "CPU", *options, *self.names, "BLOB", self.blob)
        return client.execute_command(*command)

    def set_inputs(self, client: redis.Redis, rows: int = 1) -> None:
        for name in self.inputs:
            values = self.given * rows
            client.execute_command("AI.TENSORSET", name, "FLOAT", rows, len(self.given), "VALUES", *values)

    def execute(self, key: str) -> tuple[object, ...]:
        made = tuple(f"made:{n}" for n in range(len(self.outputs)))
        inputs = ("INPUTS", len(self.inputs), *self.inputs)
        return ("AI.MODELEXECUTE", key, *inputs, "OUTPUTS", len(made), *made)

    def made(self, client: redis.Redis) -> list[float]:
        values = client.execute_command("AI.TENSORGET", f"made:{len(self.outputs) - 1}", "VALUES")
        return [float(value) for value in values]


PRODUCT_NAMES = ("INPUTS", 2, "a", "b:0", "OUTPUTS", 1, "mul")
EXAMPLES = [
    Example("TF", graph_defs.product(), ("a", "b:0"), ("mul",), PRODUCT_NAMES, (2, 3), (4, 9)),
    Example("TFLITE", tflite_models.sum_and_product(), ("a", "b"), ("sum", "product"), (), (2, 3), (4, 9)),
    Example("ONNX", small_models.onnx_linear(), ("x",), ("y",)),
    Example("OPENVINO", small_models.onnx_linear(), ("x",), ("y",)),
]


def fields(client: redis.Redis, *command: object) -> dict[bytes, Any]:
    answer = client.execute_command(*command)
    return dict(zip(answer[::2], answer[1::2], strict=True))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.backend)
def test_a_model_is_stored_described_run_and_counted(client: redis.Redis, example: Example) -> None:
    assert example.store(client, "m", "TAG", "v1") == b"OK"
    described = fields(client, "AI.MODELGET", "m", "META")
    assert described[b"backend"] == example.backend.encode()
    assert described[b"tag"] == b"v1"
    assert described[b"inputs"] == [name.encode() for name in example.inputs]
    assert described[b"outputs"] == [name.encode() for name in example.outputs]
    assert client.execute_command("AI.MODELGET", "m", "BLOB") == example.blob

    example.set_inputs(client, rows=3)
    assert client.execute_command(*example.execute("m")) == b"OK"
    assert example.made(client) == [*example.result] * 3
    counted = fields(client, "AI.INFO", "m")
    assert (counted[b"backend"], counted[b"device"]) == (example.backend.encode(), b"CPU")
    assert (counted[b"calls"], counted[b"samples"], counted[b"errors"]) == (1, 3, 0)
    assert counted[b"duration"] > 0

    client.execute_command("AI.TENSORSET", example.inputs[0], "DOUBLE", 1, 1, "VALUES", 1)
    with pytest.raises(redis.ResponseError, match=r"double|float64"):
        client.execute_command(*example.execute("m"))
    assert fields(client, "AI.INFO", "m")[b"errors"] == 1


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.backend)
def test_models_outlive_a_reload_and_a_dump(client: redis.Redis, example: Example) -> None:
    example.store(client, "m", "TAG", "v1")
    described = client.execute_command("AI.MODELGET", "m", "META", "BLOB")
    client.restore("copy", 0, client.execute_command("DUMP", "m"))
    client.execute_command("DEBUG", "RELOAD")
    example.set_inputs(client)
    for key in ("m", "copy"):
        assert client.execute_command("AI.MODELGET", key, "META", "BLOB") == described
        assert client.execute_command(*example.execute(key)) == b"OK"
        assert example.made(client) == [*example.result]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.backend)
def test_requests_that_arrive_together_run_together(
    server: Server, client: redis.Redis, example: Example
) -> None:
    options = ("BATCHSIZE", 4, "MINBATCHSIZE", 2)
    if example.backend == "TFLITE":
        with pytest.raises(redis.ResponseError, match="not supported by the TFLITE backend"):
            example.store(client, "m", *options)
        return
    assert example.store(client, "m", *options) == b"OK"
    example.set_inputs(client)
    with contextlib.closing(server.client()) as other, sent(client, *example.execute("m")) as waiting:
        assert other.execute_command(*example.execute("m")) == b"OK"
        assert waiting.read_response() == b"OK"
    assert example.made(client) == [*example.result]
    counted = fields(client, "AI.INFO", "m")
    assert (counted[b"calls"], counted[b"samples"]) == (1, 2)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.backend)
def test_what_cannot_be_loaded_is_told_and_not_stored(client: redis.Redis, example: Example) -> None:
    command = ("AI.MODELSTORE", "m", example.backend)
    with pytest.raises(redis.ResponseError, match="the blob is no "):
        client.execute_command(
            *command, "CPU", *example.names, "BLOB", example.blob[: len(example.blob) // 2]
        )
    with pytest.raises(redis.ResponseError, match=f"GPU:9 requested but the {example.backend} backend finds"):
        client.execute_command(*command, "GPU:9", *example.names, "BLOB", example.blob)
    assert not client.exists("m")


def test_a_dag_runs_models_of_several_backends(client: redis.Redis) -> None:
    """x -> linear (ONNX) -> with itself, a * b (TF) -> doubled (TORCH)."""
    tf, onnx = EXAMPLES[0], EXAMPLES[2]
    onnx.store(client, "linear")
    tf.store(client, "product")
    torch_models.store(client, "doubler", torch_models.doubler())
    onnx.set_inputs(client)
    dag = ("AI.DAGEXECUTE", "LOAD", 1, "x", "PERSIST", 1, "z")
    linear = ("|>", "AI.MODELEXECUTE", "linear", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
    product = ("|>", "AI.MODELEXECUTE", "product", "INPUTS", 2, "y", "y", "OUTPUTS", 1, "yy")
    double = ("|>", "AI.MODELEXECUTE", "doubler", "INPUTS", 1, "yy", "OUTPUTS", 1, "z")
    assert client.execute_command(*dag, *linear, *product, *double) == [b"OK"] * 3
    assert [float(x) for x in torch_models.get_tensor(client, "z")] == [2 * 4.0**2, 2 * 8.25**2]


def test_the_older_commands_store_and_run_a_graph(client: redis.Redis) -> None:
    example = EXAMPLES[0]
    names = ("INPUTS", "a", "b", "OUTPUTS", "mul")
    assert client.execute_command("AI.MODELSET", "m", "TF", "CPU", *names, "BLOB", example.blob) == b"OK"
    example.set_inputs(client)
    assert client.execute_command("AI.MODELRUN", "m", "INPUTS", "a", "b:0", "OUTPUTS", "made:0") == b"OK"
    assert example.made(client) == [*example.result]


def test_a_library_of_redisai_counts_as_loaded(client: redis.Redis) -> None:
    """Any other is not, and neither is one that is another backend's."""
    for backend, library in (
        ("TORCH", "torch"),
        ("onnx", "onnxruntime"),
        ("TF", "tensorflow"),
        ("TFLITE", "tflite"),
    ):
        for folder in ("", f"redisai_{library}/", f"/usr/lib/redis/modules/backends/redisai_{library}/"):
            path = f"{folder}redisai_{library}.so"
            assert client.execute_command("AI.CONFIG", "LOADBACKEND", backend, path) == b"OK"
    for backend, path in (("TF", "redisai_torch.so"), ("TORCH", "my_redisai_torch.so"), ("OPENVINO", "a.so")):
        with pytest.raises(redis.ResponseError, match="error loading backend"):
            client.execute_command("AI.CONFIG", "LOADBACKEND", backend, path)
