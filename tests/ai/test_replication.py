"""Tensors and models on replicas: by full sync and by the stream of commands, and what a replica answers."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator

import pytest
import redis
from support import torch_models, torch_scripts
from support.server import Server, wait_for_replica
from support.waiting import wait_until

KEYS = ("t", "scalar", "words", "model", "script", "scripted", "of-dag", "result")


@pytest.fixture
def pair(replicated: tuple[Server, Server]) -> Iterator[tuple[redis.Redis, redis.Redis]]:
    primary, replica = replicated
    with contextlib.closing(primary.client()) as one, contextlib.closing(replica.client()) as two:
        yield one, two


def test_the_stream_brings_all_that_a_full_sync_brings(
    pair: tuple[redis.Redis, redis.Redis],
    make_server: Callable[..., Server],
    replicated: tuple[Server, Server],
) -> None:
    primary, streamed = pair
    _fill(primary)
    synced_server = make_server(settings={"replicaof": f"127.0.0.1 {replicated[0].port}"})
    wait_for_replica(replicated[0], synced_server)
    with contextlib.closing(synced_server.client()) as synced:
        for replica in (streamed, synced):
            _wait_for_result(replica)
            for key in KEYS:
                assert _digest(replica, key) == _digest(primary, key), key
            meta = replica.execute_command("AI.MODELGET", "model", "META")
            assert meta == primary.execute_command("AI.MODELGET", "model", "META")
            assert replica.execute_command("AI.MODELGET", "model", "BLOB") == torch_models.doubler()
            script = replica.execute_command("AI.SCRIPTGET", "script")
            assert script == primary.execute_command("AI.SCRIPTGET", "script")


def test_a_replica_loads_no_model_to_hold_it(pair: tuple[redis.Redis, redis.Redis]) -> None:
    primary, replica = pair
    _fill(primary)
    _wait_for_result(replica)
    assert replica.info("keymiss")["keymiss_models_worker"]["state"] == "off"


def test_an_old_form_of_storing_reaches_the_replica(pair: tuple[redis.Redis, redis.Redis]) -> None:
    primary, replica = pair
    blob = torch_models.sum_and_product()
    half = len(blob) // 2
    primary.execute_command(
        "AI.MODELSET", "m", "torch", "CPU", "TAG", "old", "BLOB", blob[:half], blob[half:]
    )
    wait_until(lambda: replica.exists("m"), 10.0, "the model is on the replica")
    assert replica.execute_command("AI.MODELGET", "m") == primary.execute_command("AI.MODELGET", "m")


def test_a_model_stored_in_a_transaction_reaches_the_replica(pair: tuple[redis.Redis, redis.Redis]) -> None:
    primary, replica = pair
    primary.config_set("keymiss.sync-timeout-ms", 60_000)  # the models worker has to start first
    pipeline = primary.pipeline(transaction=True)
    pipeline.set("before", 1)
    pipeline.execute_command("AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", torch_models.doubler())
    pipeline.set("after", 1)
    pipeline.execute()
    wait_until(lambda: replica.exists("before", "m", "after") == 3, 10.0, "all three are on the replica")
    assert _digest(replica, "m") == _digest(primary, "m")


def test_an_empty_output_reaches_the_replica(pair: tuple[redis.Redis, redis.Redis]) -> None:
    primary, replica = pair
    torch_models.store(primary, "m", torch_models.positive())
    torch_models.set_tensor(primary, "x", -1.0, -2.0)
    torch_models.execute(primary, "m", "x", "y")
    assert primary.execute_command("AI.TENSORGET", "y", "META", "VALUES")[3:] == [[0], b"values", []]
    wait_until(lambda: replica.exists("y"), 10.0, "the output is on the replica")
    assert _digest(replica, "y") == _digest(primary, "y")


def test_outputs_over_keys_whose_time_runs_out_reach_the_replica(
    replicated: tuple[Server, Server], pair: tuple[redis.Redis, redis.Redis]
) -> None:
    """Some are checked before their time is over and stored afterwards: their DEL is not to come last."""
    primary, replica = pair
    torch_models.store(primary, "m", torch_models.doubler())
    keys = [f"o{n}" for n in range(2000)]
    ops = [word for key in keys for word in ("|>", "AI.TENSORSET", key, "INT8", 8000)]
    first_ms = 1000 * primary.time()[0] + 1500
    with primary.pipeline(transaction=False) as pipeline:
        for n, key in enumerate(keys):
            pipeline.execute_command("AI.TENSORSET", key, "INT8", 1)
            pipeline.pexpireat(key, first_ms + n // 4)
        pipeline.execute()
    wait_until(lambda: not primary.exists(keys[0]), 10.0, "the first of them is out of time")
    dag = [*ops, "|>", "AI.MODELEXECUTE", "m", "INPUTS", 1, keys[0], "OUTPUTS", 1, "y"]
    primary.execute_command("AI.DAGEXECUTE", "PERSIST", len(keys), *keys, *dag)
    wait_for_replica(*replicated)
    assert primary.exists(*keys) == replica.exists(*keys) == len(keys)


def test_deleting_reaches_the_replica_and_its_files(replicated: tuple[Server, Server]) -> None:
    primary, replica = replicated
    with contextlib.closing(primary.client()) as one, contextlib.closing(replica.client()) as two:
        torch_models.store(one, "m", torch_models.doubler())
        wait_until(lambda: two.exists("m"), 10.0, "the model is on the replica")
        one.execute_command("AI.MODELDEL", "m")
        wait_until(lambda: not two.exists("m"), 10.0, "the model is gone from the replica")
    wait_until(lambda: list((replica.folder / "models").iterdir()) == [], 5.0, "its file is gone")


def test_a_replica_reads_but_does_not_write(pair: tuple[redis.Redis, redis.Redis]) -> None:
    primary, replica = pair
    _fill(primary)
    _wait_for_result(replica)
    assert replica.execute_command("AI.TENSORGET", "t", "VALUES") == [1, -2, 3]
    assert replica.execute_command("AI.INFO", "model")[1] == b"model"
    for command in (
        ("AI.TENSORSET", "new", "INT8", 1),
        ("AI.MODELSTORE", "new", "TORCH", "CPU", "BLOB", torch_models.doubler()),
        ("AI.MODELEXECUTE", "model", "INPUTS", 1, "t", "OUTPUTS", 1, "new"),
        ("AI.MODELDEL", "model"),
        (
            "AI.SCRIPTSTORE",
            "new",
            "CPU",
            "ENTRY_POINTS",
            1,
            "f",
            "SOURCE",
            torch_scripts.source("f", "return 1"),
        ),
        ("AI.SCRIPTEXECUTE", "script", "f", "INPUTS", 1, "t", "OUTPUTS", 1, "new"),
        ("AI.SCRIPTDEL", "script"),
        ("AI.DAGEXECUTE", "PERSIST", 1, "new", "|>", "AI.TENSORSET", "new", "INT8", 1),
    ):
        with pytest.raises(redis.exceptions.ReadOnlyError):
            replica.execute_command(*command)


def test_a_promoted_replica_runs_the_model(pair: tuple[redis.Redis, redis.Redis]) -> None:
    primary, replica = pair
    _fill(primary)
    _wait_for_result(replica)
    replica.replicaof("no", "one")
    assert torch_models.execute(replica, "model", "t", "new") == b"OK"
    assert torch_models.get_tensor(replica, "new") == [2, -4, 6]
    assert torch_scripts.execute(replica, "script f INPUTS 1 t OUTPUTS 1 new") == b"OK"
    assert torch_models.get_tensor(replica, "new") == [2, -1, 4]


def test_a_run_that_ends_on_a_server_that_became_a_replica_stores_nothing(
    replicated: tuple[Server, Server],
) -> None:
    primary, replica = replicated
    with (
        contextlib.closing(primary.client()) as client,
        contextlib.closing(primary.client()) as other,
        contextlib.closing(replica.client()) as promoted,
    ):
        torch_models.store(client, "slow", torch_models.slow())
        torch_models.set_tensor(client, "x", 100_000.0)
        wait_until(lambda: promoted.exists("x"), 10.0, "the tensor is on the replica")
        connection = client.connection_pool.get_connection()
        connection.send_command("AI.MODELEXECUTE", "slow", "INPUTS", 1, "x", "OUTPUTS", 1, "y")
        wait_until(lambda: other.info("keymiss")["keymiss_models_running"] == 1, 10.0, "the model runs")
        promoted.replicaof("no", "one")
        other.replicaof("127.0.0.1", replica.port)
        with pytest.raises((redis.ResponseError, redis.ConnectionError)):
            connection.read_response()
        assert not other.exists("y")
        client.connection_pool.release(connection)


def _fill(client: redis.Redis) -> None:
    """Every one of KEYS, `result` last."""
    client.execute_command("AI.TENSORSET", "t", "INT16", 3, "VALUES", 1, -2, 3)
    client.execute_command("AI.TENSORSET", "scalar", "DOUBLE", "BLOB", struct.pack("<d", 0.1))
    client.execute_command("AI.TENSORSET", "words", "STRING", 2, "VALUES", "", "with space")
    options = ("TAG", b"\x00\xff", "BATCHSIZE", 4, "MINBATCHSIZE", 1, "MINBATCHTIMEOUT", 10)
    client.execute_command("AI.MODELSTORE", "model", "TORCH", "Cpu", *options, "BLOB", torch_models.doubler())
    torch_scripts.store(client, "script", "f", "return tensors[0] + 1")
    torch_scripts.execute(client, "script f INPUTS 1 t OUTPUTS 1 scripted")
    dag = "LOAD 1 t PERSIST 1 of-dag |> AI.MODELEXECUTE model INPUTS 1 t OUTPUTS 1 of-dag"
    client.execute_command("AI.DAGEXECUTE", *dag.split())
    torch_models.execute(client, "model", "t", "result")


def _wait_for_result(client: redis.Redis) -> None:
    wait_until(lambda: client.exists("result"), 10.0, "the result is on the replica")


def _digest(client: redis.Redis, key: str) -> object:
    return client.execute_command("DEBUG", "DIGEST-VALUE", key)
