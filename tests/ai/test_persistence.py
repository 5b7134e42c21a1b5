"""What a restart brings back, to the byte: from RDB, from the append-only file, from that one rewritten."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import redis
from support import torch_models, torch_scripts
from support.server import Server
from support.waiting import wait_until

AOF = {"appendonly": "yes", "appendfsync": "always"}
OPTIONS = ("TAG", b"\x00\xff\r\n", "BATCHSIZE", 4, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 50)
KEYS = ("numbers", "empty", "words", "plain", "options", "old-form", "two-outputs", "script", "old-script")
COUNTED = {"plain": 1, "script": 1}  # how often each has run


def _save(client: redis.Redis) -> None:
    client.save()


def _nothing(client: redis.Redis) -> None:
    pass


def _rewrite(client: redis.Redis) -> None:
    client.bgrewriteaof()
    wait_until(
        lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0, 30.0, "the file is rewritten"
    )
    assert client.info("persistence")["aof_last_bgrewrite_status"] == "ok"


WAYS = {
    "rdb": ({}, _save),
    "aof": (AOF, _nothing),
    "aof rewritten as rdb": ({**AOF, "aof-use-rdb-preamble": "yes"}, _rewrite),
    "aof rewritten as commands": ({**AOF, "aof-use-rdb-preamble": "no"}, _rewrite),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_key_is_back_as_it_was(
    make_server: Callable[..., Server], host_models: dict[str, object], way: str
) -> None:
    settings, persist = WAYS[way]
    server = make_server(settings={**host_models, **settings})
    with contextlib.closing(server.client()) as client:
        _fill(client)
        client.execute_command("AI.TENSORSET", "gone", "INT8", 1)
        client.delete("gone")
        assert {key: _calls(client, key) for key in COUNTED} == COUNTED
        before = {key: (_digest(client, key), client.execute_command("DUMP", key)) for key in KEYS}
        persist(client)
    server.kill()
    server.start()
    with contextlib.closing(server.client()) as client:
        assert {key: (_digest(client, key), client.execute_command("DUMP", key)) for key in KEYS} == before
        assert not client.exists("gone")
        worker = client.info("keymiss")["keymiss_models_worker"]
        assert worker["state"] == "off", "a model is loaded when it is first run"
        assert {key: _calls(client, key) for key in COUNTED} == dict.fromkeys(COUNTED, 0)
        assert torch_models.execute(client, "plain", "numbers", "y") == b"OK"
        assert torch_models.get_tensor(client, "y") == [-2, 254]
        assert torch_scripts.execute(client, "script twice INPUTS 1 y OUTPUTS 1 z") == b"OK"
        assert torch_models.get_tensor(client, "z") == [-4, 508]


def test_the_files_are_not_written_again_at_a_restart(
    make_server: Callable[..., Server], host_models: dict[str, object]
) -> None:
    server = make_server(settings=host_models)
    with contextlib.closing(server.client()) as client:
        torch_models.store(client, "m", torch_models.doubler())
        client.save()
    (path,) = (server.folder / "models").iterdir()
    inode = path.stat().st_ino
    server.kill()
    server.start()
    with contextlib.closing(server.client()) as client:
        assert client.execute_command("AI.MODELGET", "m", "BLOB") == torch_models.doubler()
    assert path.stat().st_ino == inode


def test_the_files_may_be_lost_because_the_rdb_holds_the_bytes(
    make_server: Callable[..., Server], host_models: dict[str, object]
) -> None:
    server = make_server(settings=host_models)
    with contextlib.closing(server.client()) as client:
        torch_models.store(client, "m", torch_models.doubler())
        client.save()
    server.kill()
    for path in (server.folder / "models").iterdir():
        path.unlink()
    server.start()
    with contextlib.closing(server.client()) as client:
        torch_models.set_tensor(client, "x", 1.5)
        assert torch_models.execute(client, "m", "x", "y") == b"OK"


def _fill(client: redis.Redis) -> None:
    """Every one of KEYS."""
    client.execute_command("AI.TENSORSET", "numbers", "INT16", 2, 1, "VALUES", -1, 127)
    client.execute_command("AI.TENSORSET", "words", "STRING", 3, "VALUES", "", "one", "two words")
    torch_models.store(client, "plain", torch_models.doubler())
    torch_models.store(client, "two-outputs", torch_models.sum_and_product())
    torch_models.store(client, "positive", torch_models.positive())
    client.execute_command(
        "AI.MODELSTORE", "options", "TORCH", "Cpu:0", *OPTIONS, "BLOB", torch_models.slow()
    )
    blob = torch_models.doubler()
    client.execute_command(
        "AI.MODELSET", "old-form", "torch", "cpu", "TAG", "old", "BLOB", blob[:99], blob[99:]
    )
    torch_models.set_tensor(client, "x", -1.0)
    torch_models.execute(client, "positive", "x", "empty")
    torch_models.execute(client, "plain", "x", "ran")
    source = torch_scripts.source("twice", "return tensors[0] + tensors[0]") + "\n# \xe9 \\x00\n"
    client.execute_command(
        "AI.SCRIPTSTORE", "script", "cpu:0", "TAG", b"\x00\xff", "ENTRY_POINTS", 1, "twice", "SOURCE", source
    )
    torch_scripts.execute(client, "script twice INPUTS 1 x OUTPUTS 1 ran")
    client.execute_command(
        "AI.SCRIPTSET", "old-script", "CPU", "TAG", "old", "SOURCE", "def f(a, b):\n    return a + b\n"
    )


def _calls(client: redis.Redis, key: str) -> object:
    info = client.execute_command("AI.INFO", key)
    return info[info.index(b"calls") + 1]


def _digest(client: redis.Redis, key: str) -> object:
    return client.execute_command("DEBUG", "DIGEST-VALUE", key)
