"""A shard that starts again has its tensors, models and registrations back, from RDB and from AOF."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import redis
from support import torch_models
from support.functions import answering_misses, register
from support.server import Server
from support.waiting import wait_until


def _save(client: redis.Redis) -> None:
    client.save()


def _rewrite(client: redis.Redis) -> None:
    client.bgrewriteaof()
    wait_until(
        lambda: (
            client.info("persistence")["aof_rewrite_in_progress"] == 0
            and client.info("persistence")["aof_rewrite_scheduled"] == 0
        ),
        30.0,
        "the append-only file is rewritten",
    )
    assert client.info("persistence")["aof_last_bgrewrite_status"] == "ok"


def _nothing(client: redis.Redis) -> None:
    pass


AOF = {"appendonly": "yes", "appendfsync": "always"}

WAYS = {
    "rdb": ({}, _save),
    "aof": (AOF, _nothing),
    "aof-rewritten": (AOF, _rewrite),
}


@pytest.mark.parametrize("way", WAYS)
def test_everything_is_back_after_a_kill_and_a_start(
    make_server: Any, host_models: dict[str, object], way: str
) -> None:
    settings, persist = WAYS[way]
    server: Server = make_server(settings={**host_models, **settings})
    _fill(server, persist)
    server.kill()
    server.start()
    _check(server)


def test_everything_is_back_after_an_orderly_restart_twice(make_server: Any) -> None:
    server: Server = make_server(settings=AOF)
    _fill(server, _nothing)
    for _ in range(2):
        server.restart()
        _check(server)


def test_keys_are_back_from_an_append_only_file_rewritten_as_commands(
    make_server: Any, host_models: dict[str, object]
) -> None:
    """Without registrations: a server asks modules for commands to write for keys only (docs/hooks.md)."""
    server: Server = make_server(settings={**host_models, **AOF, "aof-use-rdb-preamble": "no"})
    _fill(server, _rewrite)
    server.kill()
    server.start()
    _check_keys(server)


def test_what_was_unregistered_stays_away(make_server: Any) -> None:
    server: Server = make_server(settings=AOF)
    with contextlib.closing(server.client()) as client:
        register(client, answering_misses("q:"))
        (registration,) = client.execute_command("RG.DUMPREGISTRATIONS")
        client.execute_command("RG.UNREGISTER", registration[1])
    server.restart()
    with contextlib.closing(server.client()) as client:
        assert client.execute_command("RG.DUMPREGISTRATIONS") == []
        assert client.get("q:1") is None


def test_an_answer_of_a_function_is_in_the_append_only_file(make_server: Any) -> None:
    body = "    execute('SET', record['key'], 'kept')\n    override_reply('kept')\n"
    server: Server = make_server(settings=AOF)
    with contextlib.closing(server.client()) as client:
        register(client, answering_misses("q:", body))
        assert client.get("q:1") == b"kept"
        (registration,) = client.execute_command("RG.DUMPREGISTRATIONS")
        client.execute_command("RG.UNREGISTER", registration[1])
    server.kill()
    server.start()
    with contextlib.closing(server.client()) as client:
        assert client.get("q:1") == b"kept"


def _fill(server: Server, persist: Callable[[redis.Redis], None]) -> None:
    with contextlib.closing(server.client(socket_timeout=60.0)) as client:
        torch_models.set_tensor(client, "tensor", 1.0, 2.0, 3.5)
        client.execute_command("AI.TENSORSET", "words", "STRING", 2, "VALUES", "one", "two")
        torch_models.store(client, "model", torch_models.doubler())
        register(client, answering_misses("q:"))
        persist(client)


def _check(server: Server) -> None:
    _check_keys(server)
    with contextlib.closing(server.client(socket_timeout=60.0)) as client:
        assert client.get("q:1") == b"answer for q:1"
        assert len(client.execute_command("RG.DUMPREGISTRATIONS")) == 1


def _check_keys(server: Server) -> None:
    with contextlib.closing(server.client(socket_timeout=60.0)) as client:
        assert [float(value) for value in torch_models.get_tensor(client, "tensor")] == [1.0, 2.0, 3.5]
        assert client.execute_command("AI.TENSORGET", "words", "VALUES") == [b"one", b"two"]
        assert torch_models.execute(client, "model", "tensor", "result") == b"OK"
        assert [float(value) for value in torch_models.get_tensor(client, "result")] == [2.0, 4.0, 7.0]
        client.delete("result")
