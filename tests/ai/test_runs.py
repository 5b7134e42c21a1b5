"""AI.MODELEXECUTE and AI.MODELRUN: one answer each, whatever happens meanwhile; and runs by functions."""

from __future__ import annotations

import ast
import contextlib

import pytest
import redis
from support import torch_models
from support.running import models_worker_held, sent, wait_until_running
from support.server import Server


@pytest.mark.parametrize("command", ["execute", "run"])
@pytest.mark.parametrize("held_by", ["string", "list", "the model itself"])
def test_an_output_key_that_holds_something_else_gets_one_error(
    client: redis.Redis, command: str, held_by: str
) -> None:
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0)
    output = "m" if held_by == "the model itself" else "y"
    if held_by == "string":
        client.set("y", "kept")
    elif held_by == "list":
        client.rpush("y", "kept")
    kind = client.type(output)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        if command == "execute":
            torch_models.execute(client, "m", "x", output)
        else:
            client.execute_command("AI.MODELRUN", "m", "INPUTS", "x", "OUTPUTS", output)
    assert client.echo("in step") == b"in step"
    assert client.type(output) == kind


def test_a_dtype_that_no_key_can_hold_is_an_error(client: redis.Redis) -> None:
    torch_models.store(client, "m", torch_models.half())
    torch_models.set_tensor(client, "x", 1.0)
    with pytest.raises(redis.ResponseError, match="float16"):
        torch_models.execute(client, "m", "x", "y")
    assert not client.exists("y")


def test_a_model_that_may_give_any_number_of_outputs_is_refused(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError):
        torch_models.store(client, "m", torch_models.many())
    assert not client.exists("m")


def test_a_scalar_counts_as_one_sample_where_batches_are_made(client: redis.Redis) -> None:
    blob = torch_models.sum_and_product()
    client.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BATCHSIZE", 4, "BLOB", blob)
    client.execute_command("AI.TENSORSET", "x", "FLOAT", "VALUES", 3)
    client.execute_command("AI.MODELEXECUTE", "m", "INPUTS", 2, "x", "x", "OUTPUTS", 2, "sum", "product")
    assert client.execute_command("AI.TENSORGET", "product", "META", "VALUES")[3:] == [[], b"values", [b"9"]]
    answer = client.execute_command("AI.INFO", "m")
    assert 0 <= answer[answer.index(b"samples") + 1] <= 2


def test_waiting_for_others_ends_at_the_job_s_deadline(client: redis.Redis) -> None:
    client.config_set("keymiss.job-timeout-ms", 200)
    options = ("BATCHSIZE", 2, "MINBATCHSIZE", 2)
    client.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", *options, "BLOB", torch_models.doubler())
    client.execute_command("AI.TENSORSET", "x", "FLOAT", 1, 1, "VALUES", 1)
    with pytest.raises(redis.ResponseError, match="no answer within 2"):
        torch_models.execute(client, "m", "x", "y")


def test_outputs_go_to_the_database_of_the_client(server: Server, client: redis.Redis) -> None:
    with contextlib.closing(server.client(db=3)) as elsewhere:
        torch_models.store(elsewhere, "m", torch_models.doubler())
        torch_models.set_tensor(elsewhere, "x", 2.0)
        assert torch_models.execute(elsewhere, "m", "x", "y") == b"OK"
        assert torch_models.get_tensor(elsewhere, "y") == [b"4"]
    assert client.dbsize() == 0


def test_a_client_that_leaves_stops_nothing(client: redis.Redis, other: redis.Redis) -> None:
    torch_models.store(client, "slow", torch_models.slow())
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "n", 50_000.0)
    with (
        models_worker_held(other),
        sent(client, "AI.MODELEXECUTE", "slow", "INPUTS", 1, "n", "OUTPUTS", 1, "z") as connection,
    ):
        wait_until_running(other, 1)
        connection.disconnect()
    torch_models.set_tensor(other, "x", 1.0)
    assert torch_models.execute(other, "m", "x", "y") == b"OK"
    wait_until_running(other, 0)
    assert not other.exists("z")


def test_the_key_of_the_model_may_go_while_it_runs(client: redis.Redis, other: redis.Redis) -> None:
    torch_models.store(client, "slow", torch_models.slow())
    torch_models.set_tensor(client, "n", 20_000.0)
    with (
        models_worker_held(other) as go_on,
        sent(client, "AI.MODELEXECUTE", "slow", "INPUTS", 1, "n", "OUTPUTS", 1, "z") as connection,
    ):
        wait_until_running(other, 1)
        other.flushall()
        go_on()
        assert connection.read_response() == b"OK"
    assert torch_models.get_tensor(other, "z") == [b"20000"]


@pytest.mark.parametrize("where", ["transaction", "script"])
def test_no_model_runs_where_nobody_can_wait(client: redis.Redis, where: str) -> None:
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0)
    with pytest.raises(redis.ResponseError, match="within a transaction or a LUA script"):
        if where == "script":
            client.eval("return redis.call('AI.MODELRUN', 'm', 'INPUTS', 'x', 'OUTPUTS', 'y')", 0)
        else:
            pipeline = client.pipeline(transaction=True)
            pipeline.execute_command("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
            pipeline.execute()
    assert not client.exists("y")


def test_runs_are_counted_by_how_they_ended(client: redis.Redis) -> None:
    before = client.info("keymiss")
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.store(client, "slow", torch_models.slow())
    torch_models.set_tensor(client, "x", 1.0)
    torch_models.set_tensor(client, "n", 50_000.0)
    client.execute_command("AI.TENSORSET", "words", "STRING", 1, "VALUES", "a")
    assert torch_models.execute(client, "m", "x", "y") == b"OK"
    with pytest.raises(redis.ResponseError):
        torch_models.execute(client, "m", "words", "y")
    run = ("AI.MODELEXECUTE", "slow", "INPUTS", 1, "n", "OUTPUTS", 1, "z", "TIMEOUT", 10)
    assert client.execute_command(*run) == b"TIMEDOUT"
    after = client.info("keymiss")
    for outcome in ("done", "failed", "timed_out"):
        assert after[f"keymiss_runs_{outcome}"] - before[f"keymiss_runs_{outcome}"] == 1, outcome
    assert not client.exists("z")


def test_a_function_runs_a_model_with_execute(client: redis.Redis) -> None:
    torch_models.set_tensor(client, "x", 1.0, 2.0)
    script = (
        "def run(record):\n"
        "    execute('AI.MODELEXECUTE', 'm', 'INPUTS', 1, 'x', 'OUTPUTS', 1, 'y')\n"
        "    return execute('AI.TENSORGET', 'y', 'VALUES')\n"
        "GB('CommandReader').map(run).register(trigger='run', mode='async_local')\n"
    )
    torch_models.store(client, "m", torch_models.doubler())
    assert client.execute_command("RG.PYEXECUTE", script) == b"OK"
    (answer,) = client.execute_command("RG.TRIGGER", "run")
    assert [float(value) for value in ast.literal_eval(answer.decode())] == [2.0, 4.0]
    assert torch_models.get_tensor(client, "y") == [b"2", b"4"]
