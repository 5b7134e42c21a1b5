"""`keymiss.functions-processes`: executions run in processes beside the worker, several at a time."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
from collections.abc import Callable
from time import monotonic

import psutil
import pytest
import redis
from redis.exceptions import ResponseError
from support.cluster import Cluster
from support.functions import register
from support.server import Server
from support.waiting import wait_until

WHERE = "__import__('os').getpid()"


@pytest.fixture
def beside(server: Server, client: redis.Redis) -> Server:
    """The server that tests share, with two processes beside its worker."""
    client.config_set("keymiss.functions-processes", 2)
    return server


def run(client: redis.Redis, script: str) -> tuple[list[bytes], list[bytes]]:
    results, errors = client.execute_command("RG.PYEXECUTE", script)
    return results, errors


def processes_of(server: Server) -> set[int]:
    """Beside the worker, at work or not."""
    found = set()
    for process in server.descendants():
        with contextlib.suppress(psutil.Error):
            if "keymiss.functions.process" in process.cmdline():
                found.add(process.pid)
    return found


def test_without_others_all_runs_in_the_worker(server: Server, client: redis.Redis) -> None:
    client.config_set("keymiss.functions-processes", 1)  # the default
    results, _ = run(client, f"GB('PythonReader').map(lambda r: {WHERE}).run(lambda: (yield 1))")
    assert results == [str(server.worker_pid("functions")).encode()]
    wait_until(lambda: processes_of(server) == set(), 10.0, "none runs, of those that earlier tests had")


def test_two_executions_run_in_two_processes(beside: Server, client: redis.Redis) -> None:
    """Each waits for the other to have begun, so both run at once."""
    meet = (
        f"def f(r):\n    execute('SADD', 'here', {WHERE})\n"
        "    while execute('SCARD', 'here') < 2: pass\n    return 'met'\n"
        "GB('PythonReader').map(f).run(lambda: (yield 1))"
    )
    with concurrent.futures.ThreadPoolExecutor(2) as pool, contextlib.closing(beside.client()) as other:
        met = [pool.submit(run, asking, meet) for asking in (client, other)]
        assert [answer.result(30.0) for answer in met] == [([b"met"], [])] * 2
    assert {int(pid) for pid in client.smembers("here")} == processes_of(beside)


def test_what_an_execution_asks_of_its_shard_is_done_as_if_it_ran_in_the_worker(
    beside: Server, client: redis.Redis
) -> None:
    script = (
        "async def f(r):\n"
        "    with atomic():\n"
        "        execute('SET', 'k', 'v')\n"
        "        value = execute('GET', 'k')\n"
        "    later = await executeAsync('GET', 'k')\n"
        "    log('from a process')\n"
        f"    return [value, later, hashtag(), configGet('mine'), {WHERE}]\n"
        "GB('PythonReader').map(f).run(lambda: (yield 1), convertToStr=False)"
    )
    client.execute_command("RG.CONFIGSET", "mine", "yes")
    (answer,), errors = client.execute_command("RG.PYEXECUTE", script)
    assert errors == []
    assert answer[:4] == [b"v", b"v", b"06S", b"yes"]
    assert answer[4] in processes_of(beside)
    wait_until(lambda: "from a process" in beside.log, 10.0, "it is in the log")


def test_errors_and_records_are_those_of_the_worker(beside: Server, client: redis.Redis) -> None:
    failing = "def f(r):\n    raise ValueError('seven')\nGB('PythonReader').map(f).run(lambda: (yield 1))"
    client.config_set("keymiss.functions-processes", 1)
    in_the_worker = run(client, failing)
    client.config_set("keymiss.functions-processes", 2)
    assert run(client, failing) == in_the_worker
    assert b"seven" in in_the_worker[1][0]
    counting = "GB('PythonReader').run(lambda: iter(range(1200)), convertToStr=False)"  # in several messages
    assert run(client, counting) == (list(range(1200)), [])


def test_an_execution_starts_others_and_registers(beside: Server, client: redis.Redis) -> None:
    script = (
        "async def f(r):\n"
        "    results, errors = await GB('PythonReader').map(lambda r: r + 1).run(lambda: (yield 1))\n"
        "    GB('CommandReader').map(lambda r: 'pong').register(trigger='ping')\n"
        "    return results\n"
        "GB('PythonReader').map(f).run(lambda: (yield 1))"
    )
    assert run(client, script) == ([b"['2']"], [])
    assert client.execute_command("RG.TRIGGER", "ping") == [b"pong"]


def test_registrations_run_in_the_worker_unless_they_say_parallel(
    beside: Server, client: redis.Redis
) -> None:
    for trigger, option in (("here", ""), ("there", ", parallel=True")):
        register(
            client,
            f"seen = []\ndef f(r):\n    seen.append(1)\n    return [{WHERE}, len(seen)]\n"
            f"GB('CommandReader').map(f).register(trigger='{trigger}', convertToStr=False{option})",
        )
    worker = beside.worker_pid("functions")
    for n in (1, 2):  # one after the other: the process that has done the first does the second
        assert client.execute_command("RG.TRIGGER", "here") == [[worker, n]]
        ((pid, seen),) = client.execute_command("RG.TRIGGER", "there")
        assert pid in processes_of(beside)
        assert seen == n
    with pytest.raises(ResponseError, match="parallel"):
        client.execute_command("RG.PYEXECUTE", "GB().register(mode='sync', parallel=True)")


def test_a_parallel_function_overrides_a_reply(beside: Server, client: redis.Redis) -> None:
    register(
        client,
        f"def f(r): override_reply(get_command()[1] + ' ' + str({WHERE}))\n"
        "GB().foreach(f).register('m*', commands=['get'], eventTypes=['keymiss'], parallel=True)",
    )
    key, pid = client.execute_command("GET", "m1").split()
    assert key == b"m1"
    assert int(pid) in processes_of(beside)


def test_an_execution_that_cannot_be_sent_runs_in_the_worker(beside: Server, client: redis.Redis) -> None:
    script = (
        "import threading\nlock = threading.Lock()\n"
        f"def f(r):\n    with lock: return {WHERE}\n"
        "GB('PythonReader').map(f).run(lambda: (yield 1))"
    )
    assert run(client, script) == ([str(beside.worker_pid("functions")).encode()], [])


ENDLESS = "def f(r):\n    execute('SET', 'at', {where})\n    while True: pass\n"


def test_one_that_never_ends_is_stopped_and_its_process_goes_on(beside: Server, client: redis.Redis) -> None:
    run(client, "GB('PythonReader').run(lambda: (yield 1))")  # a process is there
    client.config_set("keymiss.execution-timeout-ms", 1000)
    script = ENDLESS.format(where=WHERE) + "GB('PythonReader').map(f).run(lambda: (yield 1))"
    with pytest.raises(ResponseError, match="within 1000 ms"):
        client.execute_command("RG.PYEXECUTE", script)
    process = psutil.Process(int(client.execute_command("GET", "at")))
    wait_until(lambda: process.cpu_percent(0.1) < 50, 10.0, "the process is idle")
    assert process.pid in processes_of(beside)


@pytest.mark.parametrize(
    ("body", "why"),
    [("os.kill(os.getpid(), 9)", "it ended"), ("re.match('(a+)+$', 'a' * 60 + 'b')", "it hung")],
    ids=["dies", "hangs"],
)
def test_a_process_that_is_lost_costs_its_executions_only(
    beside: Server, client: redis.Redis, body: str, why: str
) -> None:
    """Even one that holds the interpreter: the worker, and with it all other functions, goes on."""
    client.config_set("keymiss.hang-timeout-ms", 2000)
    worker = beside.wait_for_worker("functions")
    script = f"import os, re\nGB('PythonReader').map(lambda r: {body}).run(lambda: (yield 1))"
    started = monotonic()
    results, (error,) = run(client, script)
    assert results == []
    assert f"a functions process died while it ran this ({why}" in error.decode()
    assert monotonic() - started < 20
    assert run(client, "GB('PythonReader').run(lambda: (yield 1))") == ([b"1"], [])
    assert beside.worker_pid("functions") == worker


def test_a_process_that_dies_in_an_atomic_block_lets_the_server_go(
    beside: Server, client: redis.Redis
) -> None:
    script = (
        "import os\ndef f(r):\n    with atomic():\n        execute('SET', 'k', 'v')\n"
        "        os.kill(os.getpid(), 9)\nGB('PythonReader').map(f).run(lambda: (yield 1))"
    )
    assert run(client, script)[0] == []
    assert client.get("k") == b"v"
    assert run(
        client, "def f(r):\n    with atomic(): return 1\nGB('PythonReader').map(f).run(lambda: (yield 1))"
    ) == (
        [b"1"],
        [],
    )


def test_processes_end_with_their_worker(make_server: Callable[..., Server]) -> None:
    server = make_server(settings={"keymiss.functions-processes": 2})
    with contextlib.closing(server.client()) as client:
        run(client, "GB('PythonReader').run(lambda: (yield 1))")
    (process,) = processes_of(server)
    os.kill(server.worker_pid("functions"), signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(process), 10.0, "the process has ended")


def set_everywhere(cluster: Cluster, processes: object) -> object:
    """Returns what it was."""
    for master in cluster.masters:
        with contextlib.closing(master.client()) as client:
            (before,) = client.config_get("keymiss.functions-processes").values()
            client.config_set("keymiss.functions-processes", processes)
    return before


def test_a_cluster_runs_the_first_steps_beside_each_worker(cluster: Cluster) -> None:
    before = set_everywhere(cluster, 2)
    try:
        with contextlib.closing(cluster.masters[0].client()) as client:
            pids, errors = run(client, f"GB('PythonReader').map(lambda r: {WHERE}).run(lambda: (yield 1))")
            counted, _ = run(
                client, "GB('PythonReader').countby(lambda r: r % 3).run(lambda: iter(range(9)))"
            )
        assert errors == []
        for master in cluster.masters:
            assert processes_of(master) & {int(pid) for pid in pids}
        assert len(counted) == 3
    finally:
        set_everywhere(cluster, before)


def test_an_atomic_block_that_takes_too_long_fails_beside_the_worker(
    beside: Server, client: redis.Redis
) -> None:
    client.config_set("keymiss.sync-timeout-ms", 200)
    results, errors = run(
        client,
        "import time\n"
        "def f(r):\n"
        "    end = time.monotonic() + 20\n"
        "    with atomic():\n"
        "        while isInAtomicBlock() and time.monotonic() < end: time.sleep(0.01)\n"
        "        execute('SET', 'b', 1)\n"
        "GB('PythonReader').map(f).run(lambda: (yield 1))",
    )
    assert results == []
    assert b"the atomic block took too long (keymiss.sync-timeout-ms)" in errors[0]
    assert not client.exists("b")
