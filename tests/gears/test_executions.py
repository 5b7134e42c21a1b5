"""Executions: long ones beside misses, aborted ones, many that wait, and how many are kept."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from support.functions import answering_misses, register
from support.server import Server
from support.waiting import wait_until

from keymiss.functions.executions import Executions

SLOW = "import time\ndef slow(x):\n    time.sleep(0.01)\n    execute('INCR', 'steps')\n    return x\n"


def statuses(client: redis.Redis) -> dict[bytes, bytes]:
    return {entry[1]: entry[3] for entry in client.execute_command("RG.DUMPEXECUTIONS")}


def running(client: redis.Redis) -> list[list[Any]]:
    """What RG.DUMPEXECUTIONS tells of those that run; others are of the tests before."""
    return [entry for entry in client.execute_command("RG.DUMPEXECUTIONS") if entry[3] == b"running"]


def test_misses_are_answered_while_a_batch_reads_every_key(client: redis.Redis, server: Server) -> None:
    register(client, answering_misses("q"))
    client.mset({f"key:{n}": "value" for n in range(5_000)})
    pause = "import time\ndef pause(record):\n    time.sleep(0.0001)\n    return record\n"
    script = f"{pause}GB().map(pause).count().run('key:*')"
    started = client.execute_command("RG.PYEXECUTE", script, "UNBLOCKING")
    answered = 0
    while statuses(client).get(started) == b"running":
        assert client.get(f"q{answered}") == f"answer for q{answered}".encode()
        answered += 1
    assert client.execute_command("RG.GETRESULTS", started) == [[b"5000"], []]
    assert answered > 10


@pytest.mark.parametrize("reader", ["KeysReader", "KeysOnlyReader"])
def test_a_run_reads_the_keys_of_the_prefix_that_it_is_given(client: redis.Redis, reader: str) -> None:
    client.mset({"student:1": "a", "teacher:1": "b", "teacher:2": "c"})
    for arguments, count in (("prefix='teacher:*'", b"2"), ("'student:*', collect=True", b"1"), ("", b"3")):
        script = f"GB('{reader}').count().run({arguments})"
        assert client.execute_command("RG.PYEXECUTE", script) == [[count], []]


@pytest.mark.parametrize("function", ["async ", ""])
def test_a_run_of_a_registration_is_listed_and_aborted(client: redis.Redis, function: str) -> None:
    wait = "await asyncio.sleep(0.01)" if function else "time.sleep(0.01)"
    register(
        client,
        f"import time\n{function}def f(r):\n    execute('INCR', 'runs')\n"
        f"    while True: {wait}\n"
        "GB().foreach(f).register('k', mode='async_local', eventTypes=['set'])",
    )
    client.set("k", "v")
    wait_until(lambda: client.get("runs"), 10.0, "it runs")
    ((_, name, _, _, _, registered),) = running(client)
    assert registered == 1
    assert client.execute_command("RG.GETEXECUTION", name)[0][3][:2] == [b"status", b"running"]
    assert client.execute_command("RG.ABORTEXECUTION", name) == b"OK"
    assert client.execute_command("RG.GETRESULTSBLOCKING", name)[1] == [b"execution was aborted"]
    wait_until(lambda: statuses(client)[name] == b"aborted", 10.0, "it has ended")
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    assert entry[7][entry[7].index(b"numAborted") + 1] == 1


def test_who_waits_for_a_run_of_a_coroutine_gets_its_results(client: redis.Redis) -> None:
    register(
        client,
        "async def f(r):\n    execute('INCR', 'runs')\n"
        "    while not execute('EXISTS', 'go'): await asyncio.sleep(0.01)\n    return r['key']\n"
        "GB().map(f).register('k', mode='async_local', eventTypes=['set'])",
    )
    client.set("k", "v")
    wait_until(lambda: client.get("runs"), 10.0, "it runs")
    ((_, name, *_),) = running(client)
    script = f"execute('SET', 'go', execute('RG.GETEXECUTION', '{name.decode()}')[0][3][1])"
    client.execute_command("RG.PYEXECUTE", script)
    assert client.get("go") == b"running"
    assert client.execute_command("RG.GETRESULTSBLOCKING", name) == [[b"k"], []]


def test_an_aborted_execution_stops_at_its_next_line(client: redis.Redis) -> None:
    script = SLOW + "GB('PythonReader').map(slow).run(lambda: (n for n in range(10 ** 6)))"
    started = client.execute_command("RG.PYEXECUTE", script, "UNBLOCKING")
    wait_until(lambda: client.get("steps"), 10.0, "it runs")
    assert client.execute_command("RG.ABORTEXECUTION", started) == b"OK"
    assert statuses(client)[started] == b"aborted"
    assert client.execute_command("RG.GETRESULTS", started)[1] == [b"execution was aborted"]
    steps = client.get("steps")
    client.execute_command("RG.PYEXECUTE", "import time\ntime.sleep(0.1)")
    assert int(client.get("steps")) <= int(steps) + 1
    assert client.execute_command("RG.DROPEXECUTION", started) == b"OK"
    assert started not in statuses(client)


def test_a_function_that_catches_everything_is_aborted_all_the_same(client: redis.Redis) -> None:
    script = (
        "import time\ndef stubborn(x):\n    while True:\n        try:\n            time.sleep(0.01)\n"
        "            execute('INCR', 'turns')\n        except Exception:\n            pass\n"
        "GB('PythonReader').map(stubborn).run(lambda: (n for n in [1]))"
    )
    started = client.execute_command("RG.PYEXECUTE", script, "UNBLOCKING")
    wait_until(lambda: client.get("turns"), 10.0, "it runs")
    client.execute_command("RG.ABORTEXECUTION", started)
    turns = int(client.get("turns"))
    client.execute_command("RG.PYEXECUTE", "import time\ntime.sleep(0.1)")
    assert int(client.get("turns")) <= turns + 1
    client.execute_command("RG.DROPEXECUTION", started)


def test_a_coroutine_that_waits_is_aborted(client: redis.Redis) -> None:
    script = (
        "async def wait(x):\n    execute('SET', 'waits', 1)\n    await asyncio.sleep(3600)\n"
        "GB('PythonReader').map(wait).run(lambda: (n for n in [1]))"
    )
    started = client.execute_command("RG.PYEXECUTE", script, "UNBLOCKING")
    wait_until(lambda: client.get("waits"), 10.0, "it waits")
    client.execute_command("RG.ABORTEXECUTION", started)
    assert statuses(client)[started] == b"aborted"
    client.execute_command("RG.DROPEXECUTION", started)


def test_finished_executions_are_kept_up_to_a_number(client: redis.Redis) -> None:
    """Those that ended last. One that runs while others come and go is none of them."""
    client.execute_command("RG.CONFIGSET", "MaxExecutions", 3)
    wait = (
        "def wait(x):\n    while not execute('EXISTS', 'go'): pass\n"
        "GB('PythonReader').map(wait).run(lambda: (yield 1))"
    )
    long = client.execute_command("RG.PYEXECUTE", wait, "UNBLOCKING")
    try:
        ids = []
        for _ in range(5):
            ids.append(client.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').run()", "UNBLOCKING"))
            client.execute_command("RG.GETRESULTSBLOCKING", ids[-1])
        with pytest.raises(ResponseError, match="does not exist"):
            client.execute_command("RG.GETRESULTS", ids[1])
        assert set(statuses(client)) == {*ids[-3:], long}
        client.set("go", 1)
        client.execute_command("RG.GETRESULTSBLOCKING", long)
        assert set(statuses(client)) == {*ids[-2:], long}
    finally:
        client.set("go", 1)
        client.execute_command("RG.CONFIGSET", "MaxExecutions", 1000)
        for started in statuses(client):
            client.execute_command("RG.DROPEXECUTION", started)


def test_more_coroutines_than_threads_wait_together(client: redis.Redis, server: Server) -> None:
    register(
        client,
        "waiting = []\n"
        "async def wait(x):\n"
        "    future = createFuture()\n"
        "    waiting.append(future)\n"
        "    return await future\n"
        "def release(x):\n"
        "    released = len(waiting)\n"
        "    while waiting: setFutureResults(waiting.pop(), x[1])\n"
        "    return released\n"
        "GB('CommandReader').map(wait).register(trigger='wait', mode='async_local')\n"
        "GB('CommandReader').map(lambda x: len(waiting)).register(trigger='count', mode='sync')\n"
        "GB('CommandReader').map(release).register(trigger='release', mode='sync')\n",
    )
    clients = 20
    answers: list[object] = []

    def wait() -> None:
        with server.client() as own:
            answers.append(own.execute_command("RG.TRIGGER", "wait"))

    threads = [threading.Thread(target=wait) for _ in range(clients)]
    for thread in threads:
        thread.start()
    many = str(clients).encode()
    wait_until(lambda: client.execute_command("RG.TRIGGER", "count") == [many], 10.0, "all wait")
    assert client.execute_command("RG.TRIGGER", "release", "now") == [many]
    for thread in threads:
        thread.join()
    assert answers == [[b"now"]] * clients


SLEEPING = """
import asyncio, time
def read():
    for n in range(2):
        time.sleep(0.02)
        yield n
def plain(x):
    time.sleep(0.04)
    return x
async def waiting(x):
    await asyncio.sleep(0.05)
    return x
GB('PythonReader').map(plain).map(waiting).map(lambda x: x).run(read)
"""


def durations(client: redis.Redis, script: str) -> tuple[int, list[int]]:
    """Of the reader and of the callbacks of a script's execution, first to last, in ms."""
    execution = client.execute_command("RG.PYEXECUTE", script, "UNBLOCKING")
    _, errors = client.execute_command("RG.GETRESULTSBLOCKING", execution)
    assert errors == []
    ((_, _, _, plan),) = client.execute_command("RG.GETEXECUTION", execution, "SHARD")
    told = dict(zip(plan[::2], plan[1::2], strict=True))
    client.execute_command("RG.DROPEXECUTION", execution)
    steps = [step[3] for step in reversed(told[b"steps"]) if b"Callback" in step[5]]
    assert told[b"total_duration"] >= 220 and len(told[b"steps"]) == len(steps) + 2
    return told[b"read_duration"], steps


@pytest.mark.parametrize("processes", [1, 2])
def test_an_execution_tells_how_long_its_steps_took(client: redis.Redis, processes: int) -> None:
    client.config_set("keymiss.functions-processes", processes)
    assert durations(client, SLEEPING) == (0, [0, 0, 0, 0]), "it costs time: only where it was asked for"
    client.execute_command("RG.CONFIGSET", "ProfileExecutions", 1)
    try:
        read, (plain, waiting, at_once, _) = durations(client, SLEEPING)
    finally:
        client.execute_command("RG.CONFIGSET", "ProfileExecutions", 0)
    assert (read >= 40, plain >= 80, waiting >= 100) == (True, True, True)
    assert at_once < plain


def test_no_number_is_given_twice_while_others_are_skipped() -> None:
    executions = Executions(SimpleNamespace())  # type: ignore[arg-type]
    given: list[int] = []
    other = threading.Thread(target=lambda: given.append(executions.next_number()))

    class Compared(int):
        """While it is, another thread wants a number."""

        def __lt__(self, value: int) -> bool:
            other.start()
            other.join(0.1)  # it may have to wait until the others are skipped
            return int(self) < value

        def __gt__(self, value: int) -> bool:
            return not self < value

    executions.skip_to(Compared(1))
    other.join()
    given += [executions.next_number() for _ in range(3)]
    assert len(set(given)) == 4
    far = executions.next_number() + 50
    executions.skip_to(far)
    assert executions.next_number() == far + 1
