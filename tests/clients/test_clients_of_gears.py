"""Clients of RedisGears from PyPI, each in an environment of its own with the redis that it pins."""

from __future__ import annotations

import contextlib
from pathlib import Path

import redis
from clients import environments
from support.cluster import Cluster
from support.server import Server

HERE = Path(__file__).parent
GEARSCLIENT = HERE / "every_call_of_gearsclient.py"
REDGREASE = HERE / "every_call_of_redgrease.py"


def test_gearsclient_runs_whole(server: Server, client: redis.Redis) -> None:
    client.mset({f"n:{n}": n for n in range(1, 7)})
    python = environments.of_gearsclient()
    assert environments.run(python, GEARSCLIENT, server.port, "any") == "whole\n"


def test_gearsclient_runs_whole_on_a_shard_of_a_cluster(cluster: Cluster) -> None:
    one = cluster.shards[1]
    with contextlib.closing(redis.RedisCluster(host="127.0.0.1", port=one.master.port)) as client:
        for n in range(1, 7):
            client.set(f"n:{n}", n)
    python = environments.of_gearsclient()
    assert environments.run(python, GEARSCLIENT, one.master.port, one.hash_tag) == "whole\n"


def test_redgrease_runs_whole(server: Server, client: redis.Redis) -> None:
    """It is installed on the shard: what it sends asks for it."""
    client.mset({f"n:{n}": n for n in range(1, 7)})
    assert environments.run(environments.of_redgrease(), REDGREASE, server.port) == "whole\n"
