"""`kill -9` of a shard: its replica, promoted, answers; its workers do not outlive it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from support import torch_models
from support.cluster import Cluster
from support.functions import answering_misses, register
from support.processes import kill, runs
from support.server import Server, wait_for_replica
from support.waiting import wait_until

PROMOTION_DEADLINE_S = 40.0


def test_the_promoted_replica_answers_questions_and_runs_models(make_cluster: Any) -> None:
    cluster: Cluster = make_cluster(shards=3, replicas=1)
    shard = cluster.shards[0]
    tag = shard.hash_tag
    replica = shard.replicas[0]
    with contextlib.closing(shard.master.client(socket_timeout=60.0)) as client:
        register(client, answering_misses("q"))
        torch_models.store(client, f"model{{{tag}}}", torch_models.doubler())
        torch_models.set_tensor(client, f"tensor{{{tag}}}", 1.5, -2.0)
        assert client.get(f"q{{{tag}}}") == f"answer for q{{{tag}}}".encode()
    wait_for_replica(shard.master, replica)
    shard.master.kill()
    with contextlib.closing(replica.client(socket_timeout=60.0)) as client:
        wait_until(lambda: client.info("replication")["role"] == "master", PROMOTION_DEADLINE_S, "promotion")
        wait_until(
            lambda: client.get(f"q{{{tag}}}:next") == f"answer for q{{{tag}}}:next".encode(),
            PROMOTION_DEADLINE_S,
            "the promoted replica answers a question",
        )
        torch_models.execute(client, f"model{{{tag}}}", f"tensor{{{tag}}}", f"result{{{tag}}}")
        assert [float(value) for value in torch_models.get_tensor(client, f"result{{{tag}}}")] == [3.0, -4.0]


def test_a_replica_answers_questions_without_being_promoted(replicated: tuple[Server, Server]) -> None:
    """It cannot store an answer, but it can give one."""
    primary, replica = replicated
    with contextlib.closing(primary.client()) as client:
        register(client, answering_misses("q:"))
    wait_for_replica(primary, replica)
    with contextlib.closing(replica.client()) as client:
        assert client.get("q:1") == b"answer for q:1"


def test_registrations_reach_a_replica_by_a_full_resync(
    make_server: Any, host_models: dict[str, object]
) -> None:
    primary: Server = make_server(settings=host_models)
    with contextlib.closing(primary.client()) as client:
        register(client, answering_misses("q:"))
        torch_models.store(client, "model", torch_models.doubler())
        torch_models.set_tensor(client, "tensor", 1.0)
    replica: Server = make_server(settings={**host_models, "replicaof": f"127.0.0.1 {primary.port}"})
    wait_for_replica(primary, replica)
    primary.kill()
    with contextlib.closing(replica.client(socket_timeout=60.0)) as client:
        client.replicaof("NO", "ONE")
        assert client.get("q:1") == b"answer for q:1"
        torch_models.execute(client, "model", "tensor", "result")
        assert float(torch_models.get_tensor(client, "result")[0]) == 2.0


def test_the_workers_of_a_killed_server_end_by_themselves(fresh_server: Server) -> None:
    with contextlib.closing(fresh_server.client(socket_timeout=60.0)) as client:
        client.execute_command("RG.PYEXECUTE", "execute('PING')")
        torch_models.store(client, "model", torch_models.doubler())
    workers = [fresh_server.wait_for_worker("functions"), fresh_server.wait_for_worker("models")]
    fresh_server.kill()
    wait_until(lambda: not any(runs(pid) for pid in workers), 20.0, "both workers are gone")


def test_a_bgsave_under_way_does_not_keep_the_workers_of_a_killed_server(fresh_server: Server) -> None:
    """The child that saves holds copies of the server's descriptors, those of the channels among them."""
    with contextlib.closing(fresh_server.client()) as client:
        client.execute_command("RG.PYEXECUTE", "execute('PING')")
        worker = fresh_server.wait_for_worker("functions")
        client.set("key", "x" * 1000)
        client.config_set("rdb-key-save-delay", 100_000_000)
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_bgsave_in_progress"] == 1, 10.0, "the child saves")
        child = [p for p in fresh_server.descendants() if p.pid != worker and p.ppid() == fresh_server.pid]
    fresh_server.kill()
    started = time.monotonic()
    try:
        wait_until(lambda: not runs(worker), 20.0, "the worker is gone although the child still saves")
        assert time.monotonic() - started < 20.0
    finally:
        kill(child)
