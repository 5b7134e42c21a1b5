"""Mode 'sync': nobody is served in between, and what awaits goes on in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import redis
from support.functions import register
from support.server import Server
from support.waiting import wait_until

ADD_ONE = (
    "import time\n"
    "def add(x):\n"
    "    n = int(execute('GET', 'n') or 0)\n"
    "    time.sleep(0.001)\n"
    "    execute('SET', 'n', n + 1)\n"
    "    return n\n"
)
TIMES = 50


@contextmanager
def alongside(server: Server, *command: str) -> Iterator[Callable[[], int]]:
    """Another client runs a command all the while. What it gives: how often it has, once it has stopped."""
    stop = threading.Event()
    times = 0

    def run() -> None:
        nonlocal times
        with server.client() as client:
            while not stop.is_set():
                client.execute_command(*command)
                times += 1

    thread = threading.Thread(target=run)

    def stopped() -> int:
        stop.set()
        thread.join(60)
        return times

    thread.start()
    try:
        yield stopped
    finally:
        stopped()


@pytest.mark.parametrize(
    ("registering", "command"),
    [("trigger='t'", ("RG.TRIGGER", "t")), ("hook='ttl', keyprefix='n'", ("TTL", "n"))],
    ids=["trigger", "hook"],
)
def test_nobody_is_served_between_the_commands_of_a_sync_function(
    server: Server, client: redis.Redis, registering: str, command: tuple[str, ...]
) -> None:
    register(client, f"{ADD_ONE}GB('CommandReader').map(add).register({registering}, mode='sync')")
    with alongside(server, "INCR", "n") as increments:
        for _ in range(TIMES):
            client.execute_command(*command)
        times = increments()
    assert client.get("n") == str(TIMES + times).encode()


def test_a_sync_function_may_have_an_atomic_block_of_its_own(client: redis.Redis) -> None:
    script = (
        "def f(x):\n"
        "    execute('SET', 'a', 1)\n"
        "    before = isInAtomicBlock()\n"
        "    with atomic():\n"
        "        execute('SET', 'b', 1)\n"
        "        inside = isInAtomicBlock()\n"
        "    execute('SET', 'c', 1)\n"
        "    return [before, inside, isInAtomicBlock()]\n"
        "GB('CommandReader').map(f).register(trigger='t', mode='sync')"
    )
    register(client, script)
    assert client.execute_command("RG.TRIGGER", "t") == [b"[False, True, False]"]
    assert client.exists("a", "b", "c") == 3


def test_hooks_on_each_other_share_one_atomic_block(server: Server, client: redis.Redis) -> None:
    for n in (1, 2):
        register(
            client,
            "def f(x):\n"
            "    n = int(execute('GET', 'n') or 0)\n"
            "    reply = call_next(*x[1:])\n"
            "    execute('SET', 'n', n + 1)\n"
            "    return reply\n"
            f"GB('CommandReader').map(f).register(hook='strlen', mode='sync')  # {n}",
        )
    client.set("k", "four")
    with alongside(server, "SET", "n", "0"):
        assert {client.strlen("k") for _ in range(TIMES)} == {b"4"}
    client.delete("n")
    client.strlen("k")
    assert client.get("n") == b"1"  # what the inner hook wrote is overwritten by the outer one
    assert "ended early" not in server.log


def test_a_sync_function_that_awaits_lets_others_be_served(client: redis.Redis, server: Server) -> None:
    register(
        client,
        "futures = []\n"
        "async def wait():\n"
        "    future = createFuture()\n"
        "    futures.append(future)\n"
        "    execute('SET', 'waits', 1)\n"
        "    return await future\n"
        "def f(x):\n"
        "    execute('SET', 'begun', 1)\n"
        "    return wait()\n"
        "GB('CommandReader').map(f).register(hook='ttl', mode='sync')\n"
        "GB('CommandReader').map(lambda x: [setFutureResults(f, x[1]) for f in futures] and 1)"
        ".register(trigger='go', mode='sync')",
    )
    replies: list[object] = []

    def ask() -> None:
        with server.client() as other:
            replies.append(other.execute_command("TTL", "k"))

    waiting = threading.Thread(target=ask)
    waiting.start()
    wait_until(lambda: client.get("waits"), 10.0, "the coroutine waits, and others are served")
    client.execute_command("RG.TRIGGER", "go", "done")
    waiting.join(10)
    assert replies == [b"done"]


def test_a_coroutine_of_a_sync_event_goes_on_in_the_background(client: redis.Redis) -> None:
    register(
        client,
        "import asyncio\n"
        "async def later(key):\n"
        "    await asyncio.sleep(0.01)\n"
        "    execute('SET', 'later', key)\n"
        "def f(r):\n"
        "    execute('SET', 'at once', r['key'])\n"
        "    return later(r['key'])\n"
        "GB('KeysReader').map(f).register(prefix='k*', eventTypes=['set'], mode='sync')",
    )
    client.set("k1", 1)
    assert client.get("at once") == b"k1"
    wait_until(lambda: client.get("later") == b"k1", 10.0, "the coroutine has ended")
    dump = partial(client.execute_command, "RG.DUMPREGISTRATIONS")
    wait_until(lambda: dump()[0][7][5] == 1, 10.0, "numSuccess counts it")


NEVER_ENDING = {
    "a coroutine": "async def f(r): await asyncio.sleep(86400)\n",
    "a future": "def f(r): return gearsFuture()\n",
}


@pytest.mark.parametrize("function", NEVER_ENDING)
def test_what_a_sync_event_awaits_has_the_time_of_a_job(client: redis.Redis, function: str) -> None:
    client.config_set("keymiss.job-timeout-ms", 300)
    register(
        client, NEVER_ENDING[function] + "GB().foreach(f).register('k', mode='sync', eventTypes=['set'])"
    )
    client.set("k", "v")

    def aborted() -> bool:
        (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
        data = dict(zip(entry[7][::2], entry[7][1::2], strict=True))
        return data[b"numAborted"] == 1 and b"keymiss.job-timeout-ms" in data[b"lastError"]

    wait_until(aborted, 10.0, "it is stopped")


def test_a_sync_function_of_a_miss_may_await(client: redis.Redis) -> None:
    register(
        client,
        "async def f(r):\n"
        "    results, errors = await GB('ShardsIDReader').count().run()\n"
        "    override_reply(results[0])\n"
        "GB('KeysReader').foreach(f)"
        ".register(prefix='k*', commands=['get'], eventTypes=['keymiss'], mode='sync')",
    )
    assert client.get("k1") == b"1"
    with client.pipeline() as transaction:
        transaction.get("k1")
        assert transaction.execute() == [None]


def test_a_coroutine_for_a_write_that_waits_is_refused(client: redis.Redis) -> None:
    register(
        client,
        "async def f(r):\n    override_reply('never')\n"
        "GB('KeysReader').foreach(f).register(prefix='k*', commands=['set'], mode='sync')",
    )
    assert client.set("k1", 1)
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    assert b"Creating async record is not allowed" in entry[7][entry[7].index(b"lastError") + 1]


@pytest.mark.parametrize("option", ["hook='get'", "trigger='t'"])
def test_a_coroutine_of_a_sync_command_is_an_error_inside_multi(client: redis.Redis, option: str) -> None:
    command = ("GET", "k") if "hook" in option else ("RG.TRIGGER", "t")
    register(
        client,
        f"async def f(x):\n    return 'answered'\nGB('CommandReader').map(f).register({option}, mode='sync')",
    )
    assert client.execute_command(*command) in (b"answered", [b"answered"])
    pipeline = client.pipeline()
    pipeline.execute_command(*command)
    (error,) = pipeline.execute(raise_on_error=False)
    assert "Creating async record is not allowed" in str(error)


def test_a_sync_hook_runs_inside_multi(client: redis.Redis) -> None:
    register(client, f"{ADD_ONE}GB('CommandReader').map(add).register(hook='ttl', mode='sync')")
    with client.pipeline() as transaction:
        transaction.ttl("k")
        transaction.ttl("k")
        assert transaction.execute() == [b"0", b"1"]


@pytest.mark.parametrize("script", ["EVAL", "EVAL_RO"])
def test_a_function_inside_a_script_runs_no_other_script(client: redis.Redis, script: str) -> None:
    """The server stops on an assertion at a script inside a script."""
    register(
        client,
        "def f(r):\n"
        "    try: execute('EVAL', 'return 1', 0)\n"
        "    except Exception as error: override_reply(str(error))\n"
        "GB('KeysReader').foreach(f)"
        ".register(prefix='k*', commands=['get'], eventTypes=['keymiss'], mode='sync')",
    )
    refused = client.execute_command(script, "return redis.call('GET', KEYS[1])", 1, "k1")
    assert b"not allowed on script mode" in refused
    assert client.get("k1") is None, "outside of scripts it may"


@pytest.mark.parametrize("waits", ["trigger", "write"])
def test_a_function_does_not_kill_the_client_whose_command_waits_for_it(
    client: redis.Redis, waits: str
) -> None:
    """The server goes on with a client that it has freed."""
    kill = "execute('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'no')"
    if waits == "trigger":
        register(client, f"GB('CommandReader').map(lambda x: {kill}).register(trigger='t', mode='sync')")
        with client.pipeline() as transaction, pytest.raises(redis.ResponseError, match="may end the client"):
            transaction.execute_command("RG.TRIGGER", "t").execute()
    else:
        reader = f"GB('KeysReader').foreach(lambda r: {kill})"
        register(client, f"{reader}.register(prefix='k*', eventTypes=['set'], commands=['set'], mode='sync')")
        assert client.set("k1", 1)
        (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
        assert b"may end the client" in entry[7][entry[7].index(b"lastError") + 1]
    assert client.ping()


def test_a_function_inside_a_read_only_script_may_write(client: redis.Redis) -> None:
    register(
        client,
        "def f(r):\n"
        "    execute('SET', r['key'], 'cached')\n"
        "    override_reply('answer')\n"
        "GB('KeysReader').foreach(f)"
        ".register(prefix='k*', commands=['get'], eventTypes=['keymiss'], mode='sync')",
    )
    assert client.execute_command("EVAL_RO", "return redis.call('GET', KEYS[1])", 1, "k1") == b"answer"
    assert client.get("k1") == b"cached"
