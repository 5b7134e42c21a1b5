"""Tensors and models in a cluster: the keys of a call share a slot, and when it moves its writes do too."""

from __future__ import annotations

import contextlib

import pytest
import redis
from redis.crc import key_slot
from support import torch_models
from support.cluster import Cluster
from support.running import models_worker_held, sent, wait_until_running
from support.server import new_client


def test_each_shard_runs_its_own_model(cluster: Cluster) -> None:
    with contextlib.closing(cluster.client()) as client:
        for shard in cluster.shards:
            tag = "{" + shard.hash_tag + "}"
            client.execute_command("AI.MODELSTORE", "m" + tag, "TORCH", "CPU", "BLOB", torch_models.doubler())
            client.execute_command("AI.TENSORSET", "x" + tag, "FLOAT", 1, "VALUES", 2)
            run = ("AI.MODELEXECUTE", "m" + tag, "INPUTS", 1, "x" + tag, "OUTPUTS", 1, "y" + tag)
            assert client.execute_command(*run) == b"OK"
            assert client.execute_command("AI.TENSORGET", "y" + tag, "VALUES") == [b"4"]


@pytest.mark.parametrize("stranger", ["model", "input", "output"])
def test_keys_of_several_slots_are_refused(cluster: Cluster, stranger: str) -> None:
    tag = "{" + cluster.shards[0].hash_tag + "}"
    keys = {"model": "m" + tag, "input": "x" + tag, "output": "y" + tag, stranger: "elsewhere"}
    with contextlib.closing(cluster.masters[0].client()) as client:
        with pytest.raises(redis.ResponseError, match="hash to the same slot"):
            torch_models.execute(client, keys["model"], keys["input"], keys["output"])
        with pytest.raises(redis.ResponseError, match="hash to the same slot"):
            client.execute_command(
                "AI.MODELRUN", keys["model"], "INPUTS", keys["input"], "OUTPUTS", keys["output"]
            )


def test_a_slot_that_moves_while_a_model_runs_gets_no_output_here(cluster: Cluster) -> None:
    here, there = cluster.masters[:2]
    tag = cluster.shards[0].hash_tag
    slot = key_slot(tag.encode())
    model, given, result = (f"{name}{{{tag}}}" for name in ("slow", "x", "y"))
    with contextlib.ExitStack() as stack:
        client, other, target = (
            stack.enter_context(contextlib.closing(new_client(port)))
            for port in (here.port, here.port, there.port)
        )
        torch_models.store(client, model, torch_models.slow())
        torch_models.set_tensor(client, given, 50_000.0)
        words = f"{model} INPUTS 1 {given} OUTPUTS 1 {result}"
        go_on = stack.enter_context(models_worker_held(other))
        run, dag = (
            stack.enter_context(sent(client, *f"{before} {words}".split()))
            for before in (
                "AI.MODELEXECUTE",
                f"AI.DAGEXECUTE LOAD 1 {given} PERSIST 1 {result} |> AI.MODELEXECUTE",
            )
        )
        wait_until_running(other, 2)
        names = [master.execute_command("CLUSTER", "MYID") for master in (other, target)]
        try:
            other.delete(model, given)  # a slot with keys cannot be given away
            for master in (target, other):
                master.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[1])
            go_on()
            for waiting in (run, dag):
                with pytest.raises(redis.exceptions.TryAgainError, match="moved to another shard"):
                    waiting.read_response()
        finally:
            for master in (other, target):
                master.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[0])
        assert other.dbsize() == 0
