"""`keymiss top --once` beside load that was really made: its counts agree."""

from __future__ import annotations

import json
import os
import signal
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
from support.command_line import command_line
from support.functions import answering_misses, register
from support.processes import runs
from support.waiting import wait_until

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


def test_a_shard_that_is_down_is_told_and_is_the_exit_status(server_kind: str, tmp_path: Path) -> None:
    with command_line(server_kind, tmp_path) as keymiss:
        keymiss.up("--plain", "--shards", "2")
        first, second = keymiss.status()["shards"]
        os.kill(first["pid"], signal.SIGKILL)
        wait_until(lambda: not runs(first["pid"]), 15.0, "the first shard has ended")
        told = json.loads(keymiss("top", "--once", "--json", "--interval", "0.2", status=1))
        assert told["complete"] is False
        assert [row["state"] for row in told["shards"]] == ["down", "up"]
        assert [row["role"] for row in told["shards"]] == ["master"] * 2
        assert told["shards"][0]["answers_per_second"] is None
        assert told["shards"][1]["shard"] == str(second["port"])
        assert told["totals"]["servers_up"] == 1
        text = keymiss("top", "--once", "--interval", "0.2", "--port", str(second["port"]), status=1)
        assert text.splitlines()[0].endswith("1 of 2 servers up")
        assert "down" in text
