"""Scripts and DAGs while the models worker is killed, and models that never end: one answer a client."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import redis
from support import torch_models, torch_scripts
from support.functions import register
from support.load import Load
from support.running import sent
from support.server import Server
from support.waiting import wait_until

JOB_TIMEOUT_MS = 60_000
DEADLINE_S = JOB_TIMEOUT_MS / 1000 + 5.0
KILLS = 2
CLIENTS = 8
STEPS = 1000.0  # of the slow model: some milliseconds

IN_AND_OUT = "INPUTS 1 steps OUTPUTS 1"
COUNT = ("n = redis.execute('INCR', keys[0])", "return tensors[0]")
ENDLESS = ("return redisAI.model_execute('slow', [tensors[0] * 1e6], 1)",)


@pytest.fixture
def shard(make_server: Callable[..., Server]) -> Server:
    server = make_server(settings={"keymiss.job-timeout-ms": JOB_TIMEOUT_MS})
    with contextlib.closing(server.client(socket_timeout=90.0)) as client:
        _fill(client)
    return server


def _fill(client: redis.Redis) -> None:
    torch_models.store(client, "slow", torch_models.slow())
    torch_models.set_tensor(client, "steps", STEPS)
    torch_scripts.store(client, "count", "f", *COUNT)
    torch_scripts.store(client, "endless", "f", *ENDLESS)


@pytest.mark.slow
def test_scripts_and_dags_under_way_when_the_worker_dies_are_all_answered(shard: Server) -> None:
    """A DAG persists both of its tensors or none. A script that runs commands is never run twice, so what it
    counted is what was answered, but for those that an error told of."""

    def ask(client: redis.Redis, n: int) -> Any:
        if n % 2:
            return torch_scripts.execute(client, f"count f KEYS 1 counted {IN_AND_OUT} s:{n}")
        dag = f"LOAD 1 steps PERSIST 2 a:{n} b:{n}"
        steps = "".join(f" |> AI.MODELEXECUTE slow {IN_AND_OUT} {name}:{n}" for name in "ab")
        return client.execute_command("AI.DAGEXECUTE", *f"{dag}{steps}".split())

    with Load(shard.client, ask, clients=CLIENTS, timeout_s=90.0) as load:
        for _ in range(KILLS):
            load.wait_for_replies(2 * CLIENTS)
            victim = shard.wait_for_worker("models")
            os.kill(victim, signal.SIGKILL)
            shard.wait_for_worker("models", other_than=victim)
        load.wait_for_replies(2 * CLIENTS)
    load.check(DEADLINE_S)
    dags = [reply for reply in load.replies if isinstance(reply, list)]
    scripts = load.replies.count(b"OK")
    assert all(reply == [b"OK", b"OK"] for reply in dags)
    assert all("the models worker died" in error for error in load.errors), load.errors
    with contextlib.closing(shard.client()) as client:
        stored = set(client.scan_iter(match="[ab]:*", count=1000))
        assert {key.partition(b":")[2] for key in stored if key.startswith(b"a")} == {
            key.partition(b":")[2] for key in stored if key.startswith(b"b")
        }
        assert len(stored) >= 2 * len(dags)
        counted = int(client.get("counted") or 0)
        assert scripts <= counted <= scripts + len(load.errors)


@pytest.mark.slow
def test_what_never_ends_is_given_up_and_others_are_served(make_server: Callable[..., Server]) -> None:
    """Clients are told at the deadline; the worker, whose device they hold, is replaced. Such a DAG persists
    nothing."""
    run = f"AI.SCRIPTEXECUTE endless f {IN_AND_OUT} never"
    dag = f"AI.DAGEXECUTE LOAD 1 steps PERSIST 1 set |> AI.TENSORSET set FLOAT 1 VALUES 1 |> {run}"
    shard = make_server(settings={"keymiss.job-timeout-ms": 1500, "keymiss.hang-timeout-ms": 3000})
    with contextlib.closing(shard.client(socket_timeout=90.0)) as client:
        _fill(client)
        worker = shard.worker_pid("models")
        with sent(client, *run.split()) as script, sent(client, *dag.split()) as graph:
            for waiting in (script, graph):
                with pytest.raises(redis.ResponseError, match="no answer within 1500 ms"):
                    waiting.read_response()
        assert client.set("others", "are served")
        wait_until(
            lambda: client.info("keymiss")["keymiss_models_worker"].get("pid") != worker,
            20.0,
            "the server knows that the worker, which cannot be interrupted, is gone",
        )
        client.config_set("keymiss.job-timeout-ms", JOB_TIMEOUT_MS)  # the next one has torch to import
        assert torch_scripts.execute(client, f"count f KEYS 1 counted {IN_AND_OUT} s") == b"OK"
        assert client.exists("never", "set") == 0


def test_scripts_that_run_commands_and_a_function_that_runs_models_atomically_do_not_block_each_other(
    shard: Server,
) -> None:
    """An atomic block serves nobody but its own job; the scripts that wait behind it go on after it."""
    atomically = (
        "def run(record):\n"
        "    import redisAI\n"
        "    with atomic():\n"
        "        execute('INCR', 'blocks')\n"
        "        runner = redisAI.createModelRunner('slow')\n"
        "        redisAI.modelRunnerAddInput(runner, 'x', redisAI.getTensorFromKey('steps'))\n"
        "        redisAI.modelRunnerAddOutput(runner, 'y')\n"
        "        redisAI.setTensorInKey('from-function', redisAI.modelRunnerRun(runner)[0])\n"
        "        execute('INCR', 'blocks')\n"
        "    return 1\n"
        "GB('CommandReader').map(run).register(trigger='atomically')\n"
    )

    def ask(client: redis.Redis, n: int) -> Any:
        if n % 4 == 0:
            return client.execute_command("RG.TRIGGER", "atomically")
        return torch_scripts.execute(client, f"count f KEYS 1 counted {IN_AND_OUT} s:{n % 8}")

    with contextlib.closing(shard.client(socket_timeout=90.0)) as client:
        register(client, atomically)
        with Load(shard.client, ask, clients=CLIENTS, timeout_s=90.0) as load:
            load.wait_for_replies(200)
        load.check(DEADLINE_S)
        assert not load.errors
        blocks = sum(isinstance(reply, list) for reply in load.replies)
        assert blocks > 0
        assert client.get("blocks") == str(2 * blocks).encode()
        assert client.get("counted") == str(len(load.replies) - blocks).encode()
