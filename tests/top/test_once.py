"""`keymiss top --once` beside load that was really made: its counts agree."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from support.cluster import Cluster
from support.functions import answering_misses, register
from support.ports import ports
from support.server import Server
from support.waiting import wait_until

from keymiss.client import STATE_FILE

PROGRAM = Path(sys.executable).with_name("keymiss")
INTERVAL_S = 2.0  # the load takes a fraction of it
ATTEMPTS = 5  # on a machine that does nothing for so long
ANSWERED, FAILED, FOUND = 20, 3, 7  # what the first shard is asked; the others one more each

ANSWER = """
    if record['key'].endswith('bad'):
        override_reply('-ERR as asked')
    else:
        override_reply('an answer')
"""


def times_read(client: redis.Redis) -> int:
    """How often `keymiss top` has asked this server."""
    asked: dict[str, Any] = client.info("commandstats")
    return int(asked.get("cmdstat_ai._modelscan", {}).get("calls", 0))


def once_beside(clients: Sequence[redis.Redis], port: int, load: Callable[[], None]) -> dict[str, Any]:
    """What `top --once` says of a time in which `load` was made, and nothing else."""
    command = [PROGRAM, "top", "--once", "--json", "--port", str(port), "--interval", str(INTERVAL_S)]
    for _ in range(ATTEMPTS):
        before = [times_read(client) for client in clients]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for client, times in zip(clients, before, strict=True):
                wait_until(partial(_was_read, client, times), 60.0, "it has read once")
            load()
            within = [times_read(client) for client in clients] == [times + 1 for times in before]
            told, _ = process.communicate(timeout=60.0)
        assert process.returncode == 0
        if within:
            found = json.loads(told)
            assert isinstance(found, dict)
            return found
    raise AssertionError(f"in {ATTEMPTS} attempts the load took longer than {INTERVAL_S} s")


def _was_read(client: redis.Redis, times: int) -> bool:
    return times_read(client) > times


def counted(row: dict[str, Any], figure: str) -> float:
    """How many that were, in the time of this row."""
    return round(float(row[f"{figure}_per_second"]) * float(row["seconds"]), 6)


def test_each_shard_counts_what_it_was_asked_meanwhile(cluster: Cluster) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(shard.master.client())) for shard in cluster.shards]
        register(clients[0], answering_misses("asked:", ANSWER))
        keys = [f"asked:{{{shard.hash_tag}}}" for shard in cluster.shards]
        for client, key in zip(clients, keys, strict=True):
            client.set(f"{key}there", "kept")
            wait_until(partial(client.get, f"{key}first"), 30.0, "the function is there")

        def load() -> None:
            for more, (client, key) in enumerate(zip(clients, keys, strict=True)):
                with client.pipeline(transaction=False) as pipeline:
                    for n in range(ANSWERED + more):
                        pipeline.get(f"{key}{n}")
                    for n in range(FAILED + more):
                        pipeline.get(f"{key}{n}bad")
                    for _ in range(FOUND + more):
                        pipeline.get(f"{key}there")
                    replies = pipeline.execute(raise_on_error=False)
                assert sum(reply == b"an answer" for reply in replies) == ANSWERED + more
                assert sum(isinstance(reply, redis.ResponseError) for reply in replies) == FAILED + more

        told = once_beside(clients, cluster.masters[0].port, load)
        assert told["complete"] is True
        assert [row["address"] for row in told["shards"]] == [
            f"127.0.0.1:{master.port}" for master in cluster.masters
        ]
        for more, row in enumerate(told["shards"]):
            assert counted(row, "answers") == counted(row, "misses") == ANSWERED + FAILED + 2 * more
            assert counted(row, "hits") == FOUND + more
            assert row["hit_rate"] == pytest.approx((FOUND + more) / (ANSWERED + FAILED + FOUND + 3 * more))
            assert counted(row, "function_errors") == counted(row, "errors") == FAILED + more
            assert 0 < row["miss_p50_seconds"] <= row["miss_p99_seconds"] < 30
            assert row["functions_worker"] == "ready"
        totals = told["totals"]
        for figure in ("answers_per_second", "hits_per_second", "memory_bytes"):
            assert totals[figure] == sum(row[figure] for row in told["shards"])


def test_a_shard_that_is_down_is_told_and_is_the_exit_status(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    """The first of two, as `keymiss up` writes them down: the second is found all the same."""
    first = ports.take_run(2)
    (tmp_path / STATE_FILE).write_text(json.dumps({"port": first, "shards": 2, "replicas": 0}))
    make_server(module=None, port=first + 1)

    def once(*options: str) -> str:
        command = [PROGRAM, "top", "--once", "--interval", "0.2", "--dir", tmp_path, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60.0)
        assert done.returncode == 1, done.stderr
        return done.stdout

    try:
        told = json.loads(once("--json"))
        assert told["complete"] is False
        assert [row["address"] for row in told["shards"]] == [
            f"127.0.0.1:{port}" for port in (first, first + 1)
        ]
        assert [row["state"] for row in told["shards"]] == ["down", "up"]
        assert [row["answers_per_second"] for row in told["shards"]] == [None, None], "it has no module"
        assert told["totals"]["memory_bytes"] == told["shards"][1]["memory_bytes"] > 0
        heading, *rows = once().splitlines()
        assert heading.endswith("1 of 2 servers up")
        assert any("down" in row and "onnect" in row for row in rows)
    finally:
        ports.release(first)
