"""A server that refuses to load the module goes on as if it had never seen it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from support.paths import module_path
from support.server import Server
from support.waiting import wait_until

# A module that has one command, and nothing else.
TAKER = """
#define GIVES(name, ...) ((int (*)(const char *, void *))*(void **)ctx)("RedisModule_" #name, __VA_ARGS__)
static int handler(void *ctx, void **argv, int argc) { return 0; }
int RedisModule_OnLoad(void *ctx, void **argv, int argc) {
    void (*attribs)(void *, const char *, int, int);
    int (*create)(void *, const char *, int (*)(void *, void **, int), const char *, int, int, int);
    GIVES(SetModuleAttribs, &attribs), GIVES(CreateCommand, &create);
    attribs(ctx, "taker", 1, 1);
    return create(ctx, "%s", handler, "readonly", 0, 0, 0);
}
"""


@pytest.fixture
def plain(make_server: Callable[..., Server]) -> Server:
    return make_server(module=None, settings={"enable-module-command": "yes"})


@pytest.fixture
def client(plain: Server) -> Iterator[redis.Redis]:
    with contextlib.closing(plain.client()) as client:
        yield client


def _load_module_with(client: redis.Redis, command: str, folder: Path) -> None:
    source, built = folder / "taker.c", folder / "taker.so"
    source.write_text(TAKER % command)
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", built, source], check=True, timeout=60)
    client.execute_command("MODULE", "LOAD", str(built))


def _goes_on_and_stops(server: Server, client: redis.Redis) -> None:
    assert client.set("k", "v") and client.get("k") == b"v"
    client.config_set("hz", 500)  # timers run soon
    wait_until(lambda: client.info("server")["hz"] == 500 and client.ping(), 10.0, "the server goes on")
    client.shutdown(nosave=True)
    wait_until(lambda: not server.alive, 10.0, "the server has stopped")
    assert "bye bye" in server.log


def test_a_setting_that_is_refused(plain: Server, client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError):
        client.execute_command("MODULE", "LOADEX", str(module_path()), "CONFIG", "keymiss.max-jobs", "0")
    _goes_on_and_stops(plain, client)


@pytest.mark.parametrize("command", ["ai.info", "keymiss.hookw", "rg.unregister"])
def test_a_command_that_another_module_has(
    plain: Server, client: redis.Redis, tmp_path: Path, command: str
) -> None:
    _load_module_with(client, command, tmp_path)
    with pytest.raises(redis.ResponseError):
        client.execute_command("MODULE", "LOAD", str(module_path()))
    _goes_on_and_stops(plain, client)
