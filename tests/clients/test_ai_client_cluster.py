"""keymiss.client on clusters: every command reaches the shard of its key; what has no key asks them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import redis
import redis.asyncio
from support import torch_models
from support.cluster import Cluster
from support.waiting import wait_until

from keymiss.client import AI, AsyncAI, read_shards

SCRIPT = """
def times(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * float(args[0])
"""


@pytest.fixture
def ai(cluster: Cluster) -> Iterator[AI]:
    with contextlib.closing(cluster.client()) as client:
        yield AI(client)


def test_every_kind_of_client_tells_the_shards(cluster: Cluster) -> None:
    ports = [shard.master.port for shard in cluster.shards]
    for options in ({}, {"protocol": 3}, {"decode_responses": True}):
        with contextlib.closing(cluster.masters[0].client(**options)) as client:
            assert [shard.port for shard in read_shards(client)] == ports


def _tags(cluster: Cluster) -> list[str]:
    """One hash tag of each shard."""
    return [f"{{{shard.hash_tag}}}" for shard in cluster.shards]


def _calls(cluster: Cluster, command: str) -> int:
    """How often the servers ran it."""
    calls = 0
    for master in cluster.masters:
        with contextlib.closing(master.client()) as client:
            calls += client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)
    return calls


def test_every_shard_stores_runs_and_tells(cluster: Cluster, ai: AI) -> None:
    for tag in _tags(cluster):
        ai.modelstore(f"m{tag}", "TORCH", "CPU", torch_models.sum_and_product(), tag=tag)
        ai.scriptstore(f"s{tag}", "CPU", SCRIPT, "times")
        ai.tensorset(f"x{tag}", np.array([1, 2], np.float32))
        assert ai.modelexecute(f"m{tag}", [f"x{tag}", f"x{tag}"], [f"y{tag}", f"z{tag}"]) == "OK"
        assert ai.scriptexecute(f"s{tag}", "times", inputs=f"z{tag}", args=2, outputs=f"w{tag}") == "OK"
        assert ai.tensorget(f"w{tag}").tolist() == [2, 8]
        dag = ai.dag(load=f"x{tag}", persist=f"y{tag}")
        dag.modelexecute(f"m{tag}", [f"x{tag}", f"x{tag}"], [f"y{tag}", "z"]).tensorget("z")
        assert dag.execute()[1].tolist() == [1, 4]
        unkeyed = ai.dag().tensorset("x", [1.5]).modelexecute(f"m{tag}", ["x", "x"], ["y", "z"])
        assert unkeyed.tensorget("y").execute()[2].tolist() == [3]
        assert ai.dag(routing=tag).tensorset("x", [1.5]).tensorget("x").execute()[1].tolist() == [1.5]
        assert ai.infoget(f"m{tag}")["calls"] == 3
    assert sorted(ai.modelscan()) == sorted([f"m{tag}", tag] for tag in _tags(cluster))
    assert sorted(ai.scriptscan()) == sorted([f"s{tag}", ""] for tag in _tags(cluster))


def test_no_server_is_asked_where_the_keys_of_a_command_are(cluster: Cluster, ai: AI) -> None:
    (tag, *_) = _tags(cluster)
    ai.modelstore(f"m{tag}", "TORCH", "CPU", torch_models.sum_and_product())
    ai.tensorset(f"x{tag}", np.array([1, 2], np.float32))
    before = _calls(cluster, "command|getkeys")
    ai.modelexecute(f"m{tag}", [f"x{tag}", f"x{tag}"], [f"y{tag}", f"z{tag}"])
    ai.dag(load=f"x{tag}").tensorget(f"x{tag}").execute()
    assert _calls(cluster, "command|getkeys") == before


def test_keys_of_several_shards_are_refused_by_the_server(cluster: Cluster, ai: AI) -> None:
    one, other, _ = _tags(cluster)
    ai.modelstore(f"m{one}", "TORCH", "CPU", torch_models.sum_and_product())
    with pytest.raises(redis.ResponseError, match=r"same slot|CROSSSLOT"):
        ai.modelexecute(f"m{one}", [f"x{one}", f"x{other}"], [f"y{one}", f"z{one}"])


def test_a_setting_is_that_of_all_nodes(cluster: Cluster, ai: AI) -> None:
    size = ai.config("MODEL_CHUNK_SIZE")
    assert size is not None
    assert ai.config("MODEL_CHUNK_SIZE", 12345) == "OK"
    for master in cluster.masters:
        with contextlib.closing(master.client()) as client:
            assert AI(client).config("MODEL_CHUNK_SIZE") == 12345
    assert ai.config("MODEL_CHUNK_SIZE", size) == "OK"
    assert ai.info()["version"]


def test_a_pipeline_reaches_several_shards(cluster: Cluster, ai: AI) -> None:
    pipe = ai.pipeline()
    for number, tag in enumerate(_tags(cluster)):
        ai.modelstore(f"m{tag}", "TORCH", "CPU", torch_models.sum_and_product())
        pipe.tensorset(f"x{tag}", [float(number)])
        pipe.modelexecute(f"m{tag}", [f"x{tag}", f"x{tag}"], [f"y{tag}", f"z{tag}"])
        pipe.redis.set(f"k{tag}", number)
        pipe.tensorget(f"y{tag}")
    results = pipe.execute()
    assert [got.tolist() for got in results[3::4]] == [[0], [2], [4]]
    with pytest.raises(ValueError, match=r"AI\._MODELSCAN goes to several nodes"):
        pipe.modelscan()


def test_a_model_is_found_again_where_its_slot_went(cluster: Cluster, ai: AI) -> None:
    """The client learns from a MOVED that its table is old."""
    one, other = cluster.shards[:2]
    tag, slot = f"{{{one.hash_tag}}}", ai.redis.keyslot(one.hash_tag)
    ai.modelstore(f"m{tag}", "TORCH", "CPU", torch_models.sum_and_product())
    ai.tensorset(f"x{tag}", np.array([3], np.float32))
    with (
        contextlib.closing(one.master.client()) as source,
        contextlib.closing(other.master.client()) as target,
    ):
        try:
            _move(slot, source, target, other.master.port)
            large = np.ones(100_000)
            ai.tensorset(f"large{tag}", large)  # the first to hear it, on a way of its own
            assert ai.tensorget(f"large{tag}").shape == large.shape
            ai.modelexecute(f"m{tag}", [f"x{tag}", f"x{tag}"], [f"y{tag}", f"z{tag}"])
            dag = ai.dag(load=f"z{tag}").tensorget(f"z{tag}")
            assert dag.execute()[0].tolist() == [9]
        finally:
            _move(slot, target, source, one.master.port)


def _move(slot: int, source: redis.Redis, target: redis.Redis, port: int) -> None:
    """Move a slot with its keys to the master at `port`."""
    ids = [client.execute_command("CLUSTER", "MYID") for client in (source, target)]
    target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    for key in source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
        source.execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5000)
    for client in (target, source):
        client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
    wait_until(partial(_serves, target, slot), 10.0, "the slot is served there")


def _serves(client: redis.Redis, slot: int) -> bool:
    own = client.execute_command("CLUSTER", "MYID")
    return any(
        first <= slot <= last and master[2] == own
        for first, last, master, *_ in client.execute_command("CLUSTER", "SLOTS")
    )


def test_asyncio_reaches_every_shard_too(cluster: Cluster) -> None:
    async def body() -> None:
        client = redis.asyncio.RedisCluster(
            host="127.0.0.1", port=cluster.masters[0].port, decode_responses=True
        )
        try:
            await use(AsyncAI(client))
        finally:
            await client.aclose()

    async def use(ai: AsyncAI) -> None:
        pipe = ai.pipeline()  # before the client knows where the slots are
        for tag in _tags(cluster):
            pipe.tensorset(f"x{tag}", np.array([1, 2], np.float32))
            await ai.modelstore(f"m{tag}", "TORCH", "CPU", torch_models.sum_and_product())
            pipe.modelexecute(f"m{tag}", [f"x{tag}", f"x{tag}"], [f"y{tag}", f"z{tag}"])
            pipe.tensorget(f"z{tag}")
        results = await pipe.execute()
        assert [got.tolist() for got in results[2::3]] == [[1, 4]] * 3
        for tag in _tags(cluster):
            assert await ai.modelexecute(f"m{tag}", [f"x{tag}", f"y{tag}"], [f"y{tag}", f"z{tag}"]) == "OK"
            dag = ai.dag().tensorset("x", [2.5]).modelexecute(f"m{tag}", ["x", "x"], ["y", "z"])
            assert (await dag.tensorget("z").execute())[2].tolist() == [6.25]
        assert sorted(await ai.modelscan()) == sorted([f"m{tag}", ""] for tag in _tags(cluster))
        size = await ai.config("MODEL_CHUNK_SIZE")
        assert size is not None
        assert await ai.config("MODEL_CHUNK_SIZE", size) == "OK"

    asyncio.run(body())
