"""`kill -9` of the models worker, of a server's own and of one that a host's shards share."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

import pytest
import redis
from support import torch_models
from support.load import Load
from support.server import Server

JOB_TIMEOUT_MS = 20_000
DEADLINE_S = JOB_TIMEOUT_MS / 1000 + 5.0
KILLS = 2
STEPS = 4000.0  # of the slow model: some tens of milliseconds


@pytest.fixture
def shard(make_server: Any) -> Server:
    server: Server = make_server(settings={"keymiss.job-timeout-ms": JOB_TIMEOUT_MS})
    with contextlib.closing(server.client(socket_timeout=60.0)) as client:
        torch_models.store(client, "model", torch_models.slow())
        torch_models.set_tensor(client, "steps", STEPS)
        assert torch_models.execute(client, "model", "steps", "result") == b"OK"
    return server


def test_clients_running_a_model_while_it_dies_are_all_answered_in_time(shard: Server) -> None:
    def ask(client: redis.Redis, n: int) -> Any:
        return torch_models.execute(client, "model", "steps", f"result:{n % 8}")

    with Load(shard.client, ask, clients=8, timeout_s=60.0) as load:
        for _ in range(KILLS):
            load.wait_for_replies(8)
            victim = shard.wait_for_worker("models")
            os.kill(victim, signal.SIGKILL)
            shard.wait_for_worker("models", other_than=victim)
        load.wait_for_replies(8)
    load.check(DEADLINE_S)
    assert set(load.replies) == {b"OK"}


def test_the_model_needs_not_be_stored_again(shard: Server) -> None:
    with contextlib.closing(shard.client(socket_timeout=60.0)) as client:
        os.kill(shard.worker_pid("models"), signal.SIGKILL)
        client.delete("result")
        assert torch_models.execute(client, "model", "steps", "result") == b"OK"
        assert float(torch_models.get_tensor(client, "result")[0]) == STEPS


def test_functions_and_other_commands_go_on_while_it_is_away(shard: Server) -> None:
    with contextlib.closing(shard.client(socket_timeout=60.0)) as client:
        client.execute_command("RG.PYEXECUTE", "execute('SET', 'before', '1')")
        os.kill(shard.worker_pid("models"), signal.SIGKILL)
        assert client.execute_command("RG.PYEXECUTE", "execute('SET', 'after', '1')") == b"OK"
        assert client.get("after") == b"1"


def test_a_model_that_runs_beyond_its_deadline_is_answered_by_an_error(make_server: Any) -> None:
    server = make_server(settings={"keymiss.job-timeout-ms": 3000})
    with contextlib.closing(server.client(socket_timeout=60.0)) as client:
        torch_models.store(client, "model", torch_models.slow())
        torch_models.set_tensor(client, "steps", 1e8)
        with pytest.raises(redis.ResponseError):
            torch_models.execute(client, "model", "steps", "result")
        assert client.ping()
