"""CLIENT PAUSE, FAILOVER and a SHUTDOWN that waits for its replicas, while functions and models are at work.

The server asserts that nothing is propagated meanwhile: what workers write waits for the end of it.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis
from support import torch_models
from support.functions import register
from support.load import Load
from support.processes import runs, stopped
from support.server import Server, wait_for_replica
from support.waiting import wait_until

DEADLINE_S = 30.0
PAUSE_MS = 60_000  # ended by the test
KERNEL = tuple(int(number) for number in platform.release().split(".")[:2])

CACHING = """
async def answer(record):
    execute('SET', record['key'], 'answer')
    override_reply('answer')
GB('KeysReader').map(answer).register(prefix='q:*', commands=['get'], eventTypes=['keymiss'], mode='{mode}')
"""

# Says that it runs, waits until it is told to go on, and writes. {note} and {go} are files.
WAITING = """
import asyncio, os
async def write(x):
    open('{note}', 'w').close()
    while not os.path.exists('{go}'):
        await asyncio.sleep(0.001)
    return execute('INCR', 'n')
GB('CommandReader').map(write).register(trigger='write', mode='async_local', convertToStr=False)
"""


@pytest.fixture
def pair(make_server: Callable[..., Server]) -> tuple[Server, Server]:
    """A primary and its replica, both with an AOF."""
    primary = make_server(settings={"appendonly": "yes"})
    replica = make_server(settings={"appendonly": "yes", "replicaof": f"127.0.0.1 {primary.port}"})
    wait_for_replica(primary, replica)
    return primary, replica


@pytest.fixture
def shard(make_server: Callable[..., Server]) -> Server:
    return make_server(settings={"appendonly": "yes"})


@pytest.fixture
def client(shard: Server) -> Iterator[redis.Redis]:
    with contextlib.closing(shard.client()) as connected:
        yield connected


@contextlib.contextmanager
def asking(server: Server) -> Iterator[Load]:
    """Clients whose questions miss; replies are (number, answer)."""
    with contextlib.closing(server.client()) as client:
        assert client.get("q:first") == b"answer"
    with Load(server.client, lambda client, n: (n, client.get(f"q:{n}")), clients=4) as load:
        load.wait_for_replies(20)
        yield load


def go_on(server: Server, times: int = 50) -> None:
    """The server has had time to do what it should not."""
    with contextlib.closing(server.client()) as client:
        for _ in range(times):
            client.ping()


def wait_for_running(client: redis.Redis, jobs: int) -> None:
    wait_until(
        lambda: client.info("keymiss")["keymiss_functions_running"] == jobs, DEADLINE_S, f"{jobs} are sent"
    )


def check_nothing_lost(load: Load, server: Server, other: Server | None = None) -> None:
    """What clients were answered is there, and on the other server as well."""
    answered = [n for n, reply in load.replies if reply == b"answer"]
    assert answered
    with contextlib.closing(server.client()) as client:
        assert client.mget([f"q:{n}" for n in answered]) == [b"answer"] * len(answered)
        if other is not None:
            wait_for_replica(server, other)
            with contextlib.closing(other.client()) as copy:
                assert copy.execute_command("DEBUG", "DIGEST") == client.execute_command("DEBUG", "DIGEST")


MODES = pytest.mark.parametrize("mode", ["async_local", "sync"])


@MODES
@pytest.mark.parametrize("which", ["WRITE", "ALL"])
def test_what_functions_write_waits_while_clients_are_paused(
    pair: tuple[Server, Server], mode: str, which: str
) -> None:
    primary, replica = pair
    with contextlib.closing(primary.client()) as client:
        register(client, CACHING.format(mode=mode))
        with asking(primary) as load:
            client.execute_command("CLIENT", "PAUSE", 300, which)
            load.wait_for_replies(20)
        assert load.errors == []
    check_nothing_lost(load, primary, replica)


@MODES
def test_functions_are_at_work_while_the_replica_takes_over(pair: tuple[Server, Server], mode: str) -> None:
    primary, replica = pair
    with contextlib.closing(primary.client()) as old, contextlib.closing(replica.client()) as new:
        register(old, CACHING.format(mode=mode))
        with asking(primary) as load:
            old.execute_command("FAILOVER")
            wait_until(lambda: new.info("replication")["role"] == "master", DEADLINE_S, "it took over")
        wait_for_replica(replica, primary)
        assert new.get("q:asked of the new one") == b"answer"
    check_nothing_lost(load, replica, primary)


@MODES
def test_functions_are_at_work_while_a_shutdown_waits_for_the_replica(
    pair: tuple[Server, Server], mode: str
) -> None:
    primary, replica = pair
    with contextlib.closing(primary.client()) as client:
        register(client, CACHING.format(mode=mode))
        wait_for_replica(primary, replica)
        process = psutil.Process(primary.pid)
        with asking(primary) as load:
            os.kill(replica.pid, signal.SIGSTOP)
            try:
                load.wait_for_replies(4)
                client.set("what the replica lacks", "1")
                os.kill(primary.pid, signal.SIGTERM)
                wait_until(lambda: "waiting for replicas" in primary.log.lower(), DEADLINE_S, "it waits")
                go_on(primary)
            finally:
                os.kill(replica.pid, signal.SIGCONT)
            assert process.wait(DEADLINE_S) in (0, None)
            wait_until(lambda: load.errors, DEADLINE_S, "clients see the end")
    assert "ready to exit" in primary.log, "it ended as it should"
    check_nothing_lost(load, replica)


def test_models_are_at_work_while_clients_are_paused(pair: tuple[Server, Server]) -> None:
    primary, replica = pair
    with contextlib.closing(primary.client()) as client:
        torch_models.store(client, "doubler", torch_models.doubler())
        torch_models.set_tensor(client, "in", 1)
        run = ("AI.MODELEXECUTE", "doubler", "INPUTS", 1, "in", "OUTPUTS", 1)
        with Load(primary.client, lambda c, n: c.execute_command(*run, f"out:{n}"), clients=4) as load:
            load.wait_for_replies(20)
            client.execute_command("CLIENT", "PAUSE", 300, "WRITE")
            load.wait_for_replies(20)
        assert load.errors == []
        assert client.exists(*(f"out:{n}" for n in range(len(load.replies)))) == len(load.replies)
        wait_for_replica(primary, replica)
        with contextlib.closing(replica.client()) as copy:
            assert copy.execute_command("DEBUG", "DIGEST") == client.execute_command("DEBUG", "DIGEST")


def test_a_function_that_runs_when_the_pause_begins_goes_on_at_its_end(
    shard: Server, client: redis.Redis, tmp_path: Path
) -> None:
    note, go = tmp_path / "note", tmp_path / "go"
    register(client, WAITING.format(note=note, go=go))
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.closing(shard.client()) as other:
        run = pool.submit(other.execute_command, "RG.TRIGGER", "write")
        wait_until(note.exists, DEADLINE_S, "it runs")
        client.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        go.touch()
        go_on(shard)
        assert (client.get("n"), run.done()) == (None, False)
        client.execute_command("CLIENT", "UNPAUSE")
        assert run.result(DEADLINE_S) == [1]


def test_what_is_unregistered_too_late_for_its_client_is_gone(shard: Server, client: redis.Redis) -> None:
    register(client, "GB('CommandReader').map(lambda x: 'ran').register(trigger='t')")
    registration = client.execute_command("RG.DUMPREGISTRATIONS")[0][1]
    client.config_set("keymiss.job-timeout-ms", 500)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.closing(shard.client()) as other:
        with stopped(shard.worker_pid("functions")):
            removal = pool.submit(other.execute_command, "RG.UNREGISTER", registration)
            wait_for_running(client, 1)
            client.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        read_s = time.monotonic()  # or a little later
        with pytest.raises(redis.ResponseError, match="within 500 ms"):
            removal.result(DEADLINE_S)
    wait_until(lambda: time.monotonic() > read_s + 1, DEADLINE_S, "it is too late for the worker, too")
    client.execute_command("CLIENT", "UNPAUSE")
    wait_until(lambda: client.execute_command("RG.DUMPREGISTRATIONS") == [], DEADLINE_S, "it is gone")
    assert client.info("keymiss")["keymiss_registrations"] == 0
    with pytest.raises(redis.ResponseError, match="not registered"):
        client.execute_command("RG.UNREGISTER", registration)


def test_what_is_unregistered_meanwhile_is_not_paused(shard: Server, client: redis.Redis) -> None:
    """Both commands found it there."""
    register(client, "GB('StreamReader').register(prefix='s')")
    registration = client.execute_command("RG.DUMPREGISTRATIONS")[0][1]
    with (
        concurrent.futures.ThreadPoolExecutor(2) as pool,
        contextlib.closing(shard.client()) as one,
        contextlib.closing(shard.client()) as two,
    ):
        with stopped(shard.worker_pid("functions")):
            removal = pool.submit(one.execute_command, "RG.UNREGISTER", registration)
            wait_for_running(client, 1)
            pause = pool.submit(two.execute_command, "RG.PAUSEREGISTRATIONS", registration)
            wait_for_running(client, 2)
            client.execute_command("CLIENT", "PAUSE", 500, "WRITE")
        assert removal.result(DEADLINE_S) == b"OK"
        with pytest.raises(redis.ResponseError, match="removed or replaced"):
            pause.result(DEADLINE_S)
    assert client.info("keymiss")["keymiss_registrations"] == 0


def test_what_is_registered_too_late_for_its_client_is_there(
    shard: Server, client: redis.Redis, tmp_path: Path
) -> None:
    note, go = tmp_path / "note", tmp_path / "go"
    register(client, "execute('PING')")  # the worker is there
    client.config_set("keymiss.execution-timeout-ms", 1000)
    script = f"""
import os, time
open('{note}', 'w').close()
while not os.path.exists('{go}'):
    time.sleep(0.001)
GB('CommandReader').map(lambda x: 'ran').register(trigger='t')
"""
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.closing(shard.client()) as other:
        registering = pool.submit(other.execute_command, "RG.PYEXECUTE", script)
        wait_until(note.exists, DEADLINE_S, "it runs")
        client.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        go.touch()
        with pytest.raises(redis.ResponseError, match="within 1000 ms"):
            registering.result(DEADLINE_S)
    client.execute_command("CLIENT", "UNPAUSE")
    wait_until(lambda: client.execute_command("RG.DUMPREGISTRATIONS"), DEADLINE_S, "it is there")
    assert client.info("keymiss")["keymiss_registrations"] == 1
    assert client.execute_command("RG.TRIGGER", "t") == [b"ran"]


def test_a_pause_is_no_reason_to_end_a_worker(make_server: Callable[..., Server]) -> None:
    shard = make_server(settings={"appendonly": "yes", "keymiss.hang-timeout-ms": 400})
    with contextlib.closing(shard.client()) as client:
        register(client, CACHING.format(mode="async_local"))
        worker = shard.worker_pid("functions")
        with asking(shard) as load:
            client.execute_command("CLIENT", "PAUSE", 1500, "WRITE")
            load.wait_for_replies(20)
        assert shard.worker_pid("functions") == worker
        assert load.errors == []


@pytest.mark.skipif(
    KERNEL < (6, 9), reason="the group of a process that was collected can be told since Linux 6.9"
)
def test_what_a_worker_has_started_ends_with_it_though_the_server_collects_it_first(
    shard: Server, client: redis.Redis
) -> None:
    """It looks for children while it saves, and what the module does about the worker waits for the pause."""
    client.mset({f"k{n}": n for n in range(100)})
    client.config_set("rdb-key-save-delay", 1_000_000)
    register(client, "import subprocess\nexecute('SET', 'pid', subprocess.Popen(['sleep', '100']).pid)")
    started = int(client.get("pid") or 0)
    worker = shard.worker_pid("functions")
    client.bgsave()
    client.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(worker), DEADLINE_S, "the server has collected it")
    assert runs(started)
    client.execute_command("CLIENT", "UNPAUSE")
    wait_until(lambda: not runs(started), DEADLINE_S, "what it has started has ended")


def test_much_that_a_worker_says_meanwhile_waits_without_work(
    shard: Server, client: redis.Redis, tmp_path: Path
) -> None:
    """More than is read ahead: the event loop must not turn for what is not read yet."""
    go = tmp_path / "go"
    register(
        client,
        "import asyncio, os\n"
        "async def reply(x):\n"
        f"    while not os.path.exists('{go}'):\n"
        "        await asyncio.sleep(0.001)\n"
        "    return 'x' * 16_000_000\n"
        "GB('CommandReader').map(reply).register(trigger='big', mode='async_local')\n",
    )
    process = psutil.Process(shard.pid)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, contextlib.closing(shard.client()) as other:
        run = pool.submit(other.execute_command, "RG.TRIGGER", "big")
        wait_until(lambda: client.info("keymiss")["keymiss_functions_running"], DEADLINE_S, "it runs")
        client.execute_command("CLIENT", "PAUSE", 1500, "WRITE")
        before, began = sum(process.cpu_times()[:2]), time.monotonic()
        go.touch()
        assert len(run.result(DEADLINE_S)[0]) == 16_000_000
        assert time.monotonic() - began > 1.0, "it waited"
        assert sum(process.cpu_times()[:2]) - before < 0.75


@pytest.mark.parametrize(
    "write",
    [
        "execute('SET', 'k', 'v')",
        "execute('XGROUP', 'CREATE', 'k', 'g', '$', 'MKSTREAM')",
        'execute(\'EVAL\', \'return redis.call("SET", "k", "v")\', 0)',
        "execute('PUBLISH', 'channel', 'x')",
        "GB('CommandReader').register(trigger='new')",
    ],
)
def test_what_the_server_waits_for_may_not_write_while_clients_are_paused(
    client: redis.Redis, write: str
) -> None:
    register(
        client,
        "def answer(record):\n"
        f"    try: {write}\n"
        "    except Exception as error: override_reply(str(error))\n"
        "def reading(record):\n"
        "    override_reply(execute('GET', 'there'))\n"
        "registering = dict(commands=['get'], eventTypes=['keymiss'], mode='sync')\n"
        "GB('KeysReader').foreach(answer).register(prefix='q:*', **registering)\n"
        "GB('KeysReader').foreach(reading).register(prefix='r:*', **registering)\n",
    )
    client.set("there", "value")
    client.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
    with client.pipeline(transaction=True) as together:
        refused, read = together.get("q:1").get("r:1").execute()
    assert b"while clients are paused" in refused
    assert read == b"value"
    client.execute_command("CLIENT", "UNPAUSE")
    assert client.exists("k") == 0
    assert len(client.execute_command("RG.DUMPREGISTRATIONS")) == 2


NOTING = """
GB('KeysReader').foreach(lambda r: execute('RPUSH', 'noted', r['key']))\\
    .register(prefix='k*', eventTypes=['{event}'], mode='sync')
"""


def test_an_event_of_a_read_waits_for_the_end_of_the_pause(shard: Server, client: redis.Redis) -> None:
    register(client, NOTING.format(event="keymiss"))
    client.execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
    assert client.get("k1") is None
    go_on(shard)
    assert client.exists("noted") == 0
    client.execute_command("CLIENT", "UNPAUSE")
    wait_until(lambda: client.lrange("noted", 0, -1) == [b"k1"], DEADLINE_S, "the event came")


def test_a_transaction_that_writes_and_pauses(shard: Server, client: redis.Redis) -> None:
    register(client, NOTING.format(event="set"))
    with client.pipeline(transaction=True) as together:
        together.set("k1", "v").execute_command("CLIENT", "PAUSE", PAUSE_MS, "WRITE")
        together.execute()
    go_on(shard)
    assert client.exists("noted") == 0
    client.execute_command("CLIENT", "UNPAUSE")
    wait_until(lambda: client.lrange("noted", 0, -1) == [b"k1"], DEADLINE_S, "the event came")


@pytest.mark.parametrize("command", ["'CLIENT', 'PAUSE', '100'", "'FAILOVER'"])
def test_a_function_may_not_pause_what_it_is_part_of(client: redis.Redis, command: str) -> None:
    script = f"with atomic():\n    execute('INCR', 'n')\n    execute({command})\n"
    with pytest.raises(redis.ResponseError, match="pauses clients"):
        client.execute_command("RG.PYEXECUTE", script)
    assert client.get("n") == b"1"
