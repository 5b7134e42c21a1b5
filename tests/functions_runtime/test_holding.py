"""A function that holds the interpreter: others are told so soon, and it may end all the same."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import ResponseError
from support.functions import answering_misses, register
from support.server import Server
from support.waiting import wait_until


@pytest.fixture
def holding(server: Server, client: redis.Redis, tmp_path: Path) -> Iterator[Callable[[], object]]:
    """A script that holds the interpreter, inside a call of C, runs: until what this gives is called, which
    returns the script's reply.
    """
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = (
        "import ctypes, os\n"
        f"ctypes.PyDLL(None).open({os.fsencode(gate)!r}, os.O_RDONLY)\n"
        "execute('SET', 'out', 1)"
    )
    client.config_set("keymiss.loop-timeout-ms", 500)
    client.config_set("keymiss.busy-timeout-ms", 300)
    register(client, answering_misses("m:"))
    register(client, "GB().foreach(lambda r: execute('INCR', 'n')).register('e*')")
    assert client.get("m:0") == b"answer for m:0"
    opened: list[int] = []

    def let_go() -> object:
        if not opened:
            opened.append(os.open(gate, os.O_WRONLY))
        return reply.result(30.0)

    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.closing(server.client()) as other:
        reply = pool.submit(other.execute_command, "RG.PYEXECUTE", script)
        yield let_go
        let_go()
    os.close(opened[0])


def events_until_held(client: redis.Redis) -> int:
    """How many were fired until the worker was seen to read nothing."""
    fired = 0

    def fire() -> bool:
        nonlocal fired
        fired += 1
        client.set("e", fired)
        return bool(client.info("keymiss")["keymiss_functions_queue_depth"] > 0)

    wait_until(fire, 15.0, "events wait in the server")
    return fired


def test_others_are_told_that_a_function_holds_the_interpreter(
    server: Server, client: redis.Redis, holding: Callable[[], object]
) -> None:
    worker = server.wait_for_worker("functions")
    fired = events_until_held(client)
    for command in (
        ("RG.DUMPREGISTRATIONS",),
        ("RG.PYEXECUTE", "execute('SET', 'refused', 1)"),
        ("GET", "m:1"),
    ):
        with pytest.raises(ResponseError, match=r"^BUSY the functions worker has read nothing"):
            client.execute_command(*command)
    wait_until(lambda: 'File "<string>", line 2 in' in server.log, 10.0, "the log shows what holds it")
    assert holding() == b"OK"
    assert client.get("out") == b"1"
    assert client.get("m:1") == b"answer for m:1"
    wait_until(lambda: client.get("n") == b"%d" % fired, 10.0, "no event is lost")
    assert client.get("refused") is None, "what was refused was not begun"
    assert server.worker_pid("functions") == worker
