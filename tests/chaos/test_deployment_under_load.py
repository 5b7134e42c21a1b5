"""A deployed cluster, asked real questions, loses its workers and a shard to `kill -9`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import redis
from support.command_line import CommandLine, command_line
from support.load import Load
from support.paths import REPOSITORY
from support.server import new_client
from support.waiting import wait_until

JOB_TIMEOUT_MS = 20_000
DEADLINE_S = JOB_TIMEOUT_MS / 1000 + 5.0
RECOVERY_DEADLINE_S = 60.0
CLIENTS = 6

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Deployment:
    """Three shards, each with a replica, that answer questions about the sample corpus."""

    keymiss: CommandLine
    key: str  # of a question that is answered

    def shard(self, role: str) -> dict[str, Any]:
        """The server of this role on the shard that holds `key`, as `keymiss status` tells it."""
        tag = self.key.partition("{")[2].partition("}")[0]
        servers = self.keymiss.status()["shards"]
        return next(server for server in servers if (server["hash_tag"], server["role"]) == (tag, role))

    def worker_pid(self, role: str, port: int | None) -> int:
        workers = self.keymiss.status()["workers"]
        return int(next(w["pid"] for w in workers if (w["role"], w["port"]) == (role, port)))

    def ask(self, client: redis.Redis, n: int) -> Any:
        """The question in other words each time, so that no answer comes from the cache."""
        return client.get(f"{self.key} ({n})")


@pytest.fixture(scope="module")
def deployment(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with command_line(server_kind, tmp_path_factory.mktemp("chaos")) as keymiss:
        # Longer than a busy machine may stall a server, which is not to be taken for dead.
        settings = ("--set", f"keymiss.job-timeout-ms={JOB_TIMEOUT_MS}", "--set", "cluster-node-timeout=5000")
        keymiss.up("--shards", "3", "--replicas", "1", *settings)
        keymiss("model", "store", "--backend", "torch", "--precision", "fp32")
        keymiss("load", REPOSITORY / "corpus")
        keymiss("deploy")
        yield Deployment(keymiss, keymiss.status()["sample_key"])


@pytest.mark.parametrize("role", ["functions", "models"])
def test_everyone_who_asks_is_answered_while_a_worker_is_killed(deployment: Deployment, role: str) -> None:
    port = deployment.shard("master")["port"]
    with Load(partial(new_client, port), deployment.ask, clients=CLIENTS, timeout_s=60.0) as load:
        load.wait_for_replies(CLIENTS)
        os.kill(deployment.worker_pid(role, None if role == "models" else port), signal.SIGKILL)
        load.wait_for_replies(5 * CLIENTS)
    load.check(DEADLINE_S)
    assert all(reply is not None for reply in load.replies)


def test_the_replica_of_a_killed_shard_answers_once_it_is_promoted(deployment: Deployment) -> None:
    master, replica = deployment.shard("master"), deployment.shard("replica")
    with closing(new_client(master["port"])) as client:
        expected = client.get(deployment.key)
        assert expected
    os.kill(master["pid"], signal.SIGKILL)
    with closing(new_client(replica["port"], socket_timeout=60.0)) as client:
        wait_until(
            lambda: client.info("replication")["role"] == "master",
            RECOVERY_DEADLINE_S,
            "the replica is promoted",
        )
        client.delete(deployment.key)
        answer = wait_until(lambda: client.get(deployment.key), RECOVERY_DEADLINE_S, "it answers")
        assert answer == expected
