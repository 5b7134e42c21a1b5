"""keymiss.client on a cluster whose masters change: a client that knows the old ones finds the new."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import redis
import redis.asyncio
from support import torch_models
from support.cluster import Cluster, Shard
from support.waiting import wait_until

from keymiss.client import AI, QA, Answers, AsyncAI, AsyncQA, read_registrations

DEADLINE_S = 30.0
LARGE = np.ones(100_000, np.float32)  # is sent without being copied
SCRIPT = """
def times(tensors: List[Tensor], keys: List[str], args: List[str]):
    return tensors[0] * float(args[0])
"""

ROLES = """
def ask(words):
    return [[words[-1] + ":1", execute("ROLE")[0], 1.0, 1.0]]
GB("CommandReader").map(ask).register(trigger="ask_on_key", mode="async_local", convertToStr=False)
"""


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    return make_cluster(shards=2, replicas=1)


@pytest.fixture
def connect(cluster: Cluster) -> Iterator[Callable[[], redis.RedisCluster]]:
    """Makes clients that have spoken to the first shard."""
    with contextlib.ExitStack() as stack:

        def connected() -> redis.RedisCluster:
            options = {"host": "127.0.0.1", "port": cluster.shards[1].master.port, "protocol": 2}
            client = stack.enter_context(contextlib.closing(redis.RedisCluster(**options)))
            client.get(cluster.shards[0].hash_tag)
            return client

        yield connected


def promote_replica(cluster: Cluster, shard: Shard, *how: str) -> None:
    """Make a master of the shard's replica, and wait until all that answer know."""
    (replica,) = shard.replicas

    with contextlib.closing(replica.client()) as client:
        for _ in range(3):  # busy servers give one up after 5 s
            client.execute_command("CLUSTER", "FAILOVER", *how)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: _master(client, shard) == replica.port, 8.0, "the replica is the master")
                break
    for server in cluster.servers:
        if server.alive:
            with contextlib.closing(server.client()) as client:
                wait_until(
                    lambda: _master(client, shard) == replica.port, DEADLINE_S, "the new master is known"
                )


def _master(client: redis.Redis, shard: Shard) -> int:
    """The port of the shard's master, as this server sees it."""
    slots = client.execute_command("CLUSTER", "SLOTS")
    return next(int(master[1]) for first, _, master, *_ in slots if first == shard.first_slot)


def _store(shard: Shard) -> None:
    """A model, a script and a tensor, on the replica too."""
    tag = f"{{{shard.hash_tag}}}"
    with contextlib.closing(shard.master.client()) as client:
        ai = AI(client)
        ai.modelstore(f"m{tag}", "TORCH", "CPU", torch_models.sum_and_product())
        ai.scriptstore(f"s{tag}", "CPU", SCRIPT, "times")
        ai.tensorset(f"x{tag}", np.array([3], np.float32))
        assert client.wait(1, int(DEADLINE_S * 1000)) == 1


def test_what_is_run_after_a_master_died_is_run_by_the_next(
    cluster: Cluster, connect: Callable[[], redis.RedisCluster]
) -> None:
    shard, _ = cluster.shards
    m, s, x, y, z = (f"{name}{{{shard.hash_tag}}}" for name in "msxyz")
    of_model, of_script, of_dag, of_large = (AI(connect()) for _ in range(4))
    _store(shard)
    shard.master.kill()
    promote_replica(cluster, shard, "TAKEOVER")
    assert of_model.modelexecute(m, [x, x], [y, z]) == "OK"
    assert of_script.scriptexecute(s, "times", inputs=x, args=2, outputs=y) == "OK"
    assert of_dag.dag(load=x).tensorget(x).execute()[0].tolist() == [3]
    large = of_large.dag(routing=x).tensorset("a", LARGE).tensorget("a").execute()
    assert large[1].shape == LARGE.shape


def test_a_client_that_is_to_repeat_nothing_does_not(
    cluster: Cluster, connect: Callable[[], redis.RedisCluster]
) -> None:
    shard, _ = cluster.shards
    client = connect()
    client.retry.update_retries(0)
    shard.master.kill()
    promote_replica(cluster, shard, "TAKEOVER")
    with pytest.raises(redis.ConnectionError):
        AI(client).modelexecute(f"m{{{shard.hash_tag}}}", "x", "y")


def test_asyncio_runs_it_on_the_next_too(cluster: Cluster) -> None:
    shard, other = cluster.shards
    m, x, y, z = (f"{name}{{{shard.hash_tag}}}" for name in "mxyz")

    async def body() -> None:
        async with redis.asyncio.RedisCluster(host="127.0.0.1", port=other.master.port) as client:
            await client.get(shard.hash_tag)
            shard.master.kill()
            promote_replica(cluster, shard, "TAKEOVER")
            assert await AsyncAI(client).modelexecute(m, [x, x], [y, z]) == "OK"

    _store(shard)
    asyncio.run(body())


def _register_roles(cluster: Cluster) -> None:
    """Masters and replicas answer questions by what they are."""
    with contextlib.closing(cluster.shards[0].master.client()) as client:
        client.execute_command("RG.PYEXECUTE", ROLES)
    for server in cluster.servers:
        with contextlib.closing(server.client()) as client:
            wait_until(lambda: read_registrations(client), DEADLINE_S, "the function is there")


def _asked(answers: Answers) -> str:
    """Who was asked."""
    (one,) = answers.paragraphs
    return one.text


def test_questions_go_to_a_new_master_though_the_old_one_lives(
    cluster: Cluster, connect: Callable[[], redis.RedisCluster]
) -> None:
    shard, _ = cluster.shards
    _register_roles(cluster)
    qa = QA(connect())
    assert _asked(qa.ask("Who?", [shard.hash_tag])) == "master"
    promote_replica(cluster, shard)
    assert _asked(qa.ask("Who?", [shard.hash_tag])) == "master"


def test_questions_of_asyncio_go_to_a_new_master_though_the_old_one_lives(cluster: Cluster) -> None:
    shard, other = cluster.shards

    async def body() -> None:
        async with redis.asyncio.RedisCluster(host="127.0.0.1", port=other.master.port) as client:
            qa = AsyncQA(client)
            assert _asked(await qa.ask("Who?", [shard.hash_tag])) == "master"
            promote_replica(cluster, shard)
            assert _asked(await qa.ask("Who?", [shard.hash_tag])) == "master"

    _register_roles(cluster)
    asyncio.run(body())
