"""Slots that move from shard to shard, by the server's own program, while AI.* commands use them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import redis
from redis.crc import key_slot
from support import torch_models, torch_scripts
from support.cluster import Cluster
from support.load import Load
from support.server import new_client

SLOTS_MOVED = 60  # the lowest of a shard: redis-cli takes them in order
TAGS = 3
OK = b"OK"


def _tags() -> list[str]:
    """Hash tags in slots that move."""
    found = (str(n) for n in range(10**6) if key_slot(str(n).encode()) < SLOTS_MOVED)
    return ["{" + next(found) + "}" for _ in range(TAGS)]


def test_slots_move_back_and_forth_under_requests(make_cluster: Callable[..., Cluster]) -> None:
    """A client that follows the cluster's redirections gets the right answer each time; nothing is lost."""
    cluster = make_cluster(shards=2)
    tags = _tags()

    def ask(client: redis.Redis, n: int) -> Any:
        """Writes an output of its own, and reads it: the answer, which is to be twice the input."""
        tag = tags[n % TAGS]
        out = f"y{n}{tag}"
        kind = n // TAGS % 3
        client.execute_command("AI.TENSORSET", out, "FLOAT", 1, "VALUES", 0)
        if kind == 0:
            assert torch_models.execute(client, f"m{tag}", f"x{tag}", out) == OK
        elif kind == 1:
            assert torch_scripts.execute(client, f"s{tag} f INPUTS 1 x{tag} OUTPUTS 1 {out}") == OK
        else:
            run = f"LOAD 1 x{tag} PERSIST 1 {out} |> AI.MODELEXECUTE m{tag} INPUTS 1 x{tag} OUTPUTS 1 {out}"
            assert client.execute_command("AI.DAGEXECUTE", *run.split()) == [OK]
        return client.execute_command("AI.TENSORGET", out, "VALUES")

    connect: Callable[..., Any] = cluster.client
    with contextlib.closing(connect()) as client:
        for tag in tags:
            client.execute_command("AI.MODELSTORE", f"m{tag}", "TORCH", "CPU", "BLOB", torch_models.doubler())
            torch_scripts.store(client, f"s{tag}", "f", "return tensors[0] + tensors[0]")
            torch_models.set_tensor(client, f"x{tag}", 1.5)
        before = {key: _digest(cluster, key) for tag in tags for key in (f"m{tag}", f"s{tag}", f"x{tag}")}
        here, there = cluster.masters
        with Load(connect, ask, clients=TAGS * 2, timeout_s=60.0) as load:
            for source, target in ((here, there), (there, here)):
                load.wait_for_replies(30)
                cluster.move(source, target, SLOTS_MOVED)
            load.wait_for_replies(30)
        load.check(60.0)
        assert not load.errors
        assert load.replies == [[b"3"]] * len(load.replies)
        assert {key: _digest(cluster, key) for key in before} == before


def _digest(cluster: Cluster, key: str) -> object:
    """Of the value at `key`, wherever it is; that it is at one place only is seen too."""
    found = []
    for master in cluster.masters:
        with (
            contextlib.closing(new_client(master.port)) as client,
            contextlib.suppress(redis.exceptions.MovedError),
        ):
            if client.exists(key):
                found.append(client.execute_command("DEBUG", "DIGEST-VALUE", key))
    (digest,) = found
    return digest
