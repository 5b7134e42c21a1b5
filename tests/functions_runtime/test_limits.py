"""What user code cannot do to others: run for ever, crash the process, answer what no reply can hold."""

from __future__ import annotations

import concurrent.futures
import os
import signal
from collections.abc import Callable
from time import monotonic

import pytest
import redis
from redis.exceptions import RedisError, ResponseError
from support.functions import answering_misses, register
from support.processes import runs
from support.server import Server
from support.waiting import wait_until

SPIN = "    while True: pass\n"
SLEEP = "    import time\n    time.sleep(100)\n"


def on_misses(body: str, name: str = "def") -> str:
    """A function with this body, registered on GETs of m* that miss."""
    return (
        f"{name} f(r):\n{body}"
        "GB('KeysReader').foreach(f).register(prefix='m*', commands=['get'], "
        "eventTypes=['keymiss'], mode='async_local')"
    )


@pytest.mark.parametrize("body", [SPIN, SLEEP], ids=["spins", "sleeps"])
def test_a_function_past_its_deadline_is_answered_for(client: redis.Redis, body: str) -> None:
    register(client, on_misses(body))
    client.config_set("keymiss.job-timeout-ms", 300)
    started = monotonic()
    with pytest.raises(ResponseError):
        client.get("m1")
    assert monotonic() - started < 5
    assert client.ping()


def test_a_trigger_has_the_time_of_an_execution(client: redis.Redis) -> None:
    register(
        client,
        "import time\n"
        "def f(argv):\n"
        "    while argv[1] == 'long': time.sleep(0.01)\n"
        "    time.sleep(0.3)\n"
        "    return 'done'\n"
        "GB('CommandReader').map(f).register(trigger='t')",
    )
    client.config_set("keymiss.job-timeout-ms", 100)
    assert client.execute_command("RG.TRIGGER", "t", "short") == [b"done"]
    client.config_set("keymiss.execution-timeout-ms", 300)
    with pytest.raises(ResponseError, match="within 300 ms"):
        client.execute_command("RG.TRIGGER", "t", "long")


def test_a_coroutine_past_its_deadline_is_cancelled(client: redis.Redis) -> None:
    register(
        client,
        on_misses(
            "    try:\n        await asyncio.sleep(100)\n"
            "    except asyncio.CancelledError:\n        execute('SET', 'cancelled', '1')\n        raise\n",
            "async def",
        ),
    )
    client.config_set("keymiss.job-timeout-ms", 300)
    with pytest.raises(ResponseError):
        client.get("m1")
    wait_until(lambda: client.get("cancelled") == b"1", 10, "the coroutine was cancelled")


def test_functions_that_spin_give_their_threads_back(client: redis.Redis) -> None:
    """More of them than there are threads: each is interrupted at its deadline, and others run after them."""
    register(client, on_misses("    if r['key'] == 'm': return override_reply('ran')\n" + SPIN))
    client.config_set("keymiss.job-timeout-ms", 300)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        for spin in [pool.submit(client.get, f"m{i}") for i in range(10)]:
            assert isinstance(spin.exception(30), ResponseError)
    client.config_set("keymiss.job-timeout-ms", 10_000)
    assert client.get("m") == b"ran"


@pytest.mark.slow
def test_a_worker_whose_threads_are_all_stuck_is_replaced(make_server: Callable[..., Server]) -> None:
    server = make_server(settings={"keymiss.functions-threads": 1})
    client = server.client()
    register(client, on_misses("    if r['key'] == 'm': return override_reply('ran')\n" + SLEEP))
    first = server.wait_for_worker("functions")
    client.config_set("keymiss.job-timeout-ms", 300)
    for key in ("m1", "m2"):
        with pytest.raises(ResponseError):
            client.get(key)
    client.config_set("keymiss.job-timeout-ms", 30_000)
    wait_until(lambda: client.get("m") == b"ran", 30, "a new worker answers")
    assert server.worker_pid("functions") != first


def test_an_interrupted_atomic_block_lets_the_server_go(client: redis.Redis) -> None:
    register(client, on_misses("    with atomic():\n        while True: execute('INCR', 'n')\n"))
    client.config_set("keymiss.job-timeout-ms", 300)
    for _ in range(3):
        with pytest.raises(ResponseError):
            client.get("m1")
    assert client.ping()
    client.config_set("keymiss.job-timeout-ms", 10_000)
    assert client.execute_command("RG.PYEXECUTE", "execute('PING')") == b"OK"


def test_the_end_of_the_process_is_an_error_for_those_who_wait(server: Server, client: redis.Redis) -> None:
    register(client, on_misses("    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n"))
    started = monotonic()
    with pytest.raises(RedisError):
        client.get("m1")
    assert monotonic() - started < 20
    wait_until(lambda: client.execute_command("RG.PYEXECUTE", "1") == b"OK", 20, "a new worker runs scripts")


def test_a_worker_that_is_killed_is_replaced_at_once(server: Server, client: redis.Redis) -> None:
    register(client, answering_misses("m"))
    assert client.get("m1") == b"answer for m1"
    pid = server.wait_for_worker("functions")
    os.kill(pid, signal.SIGKILL)
    started = monotonic()
    wait_until(lambda: client.get("m1") == b"answer for m1", 20, "the next worker answers")
    assert monotonic() - started < 5
    assert server.worker_pid("functions") != pid


def test_a_worker_ends_with_its_server(fresh_server: Server) -> None:
    with fresh_server.client() as client:
        client.execute_command("RG.PYEXECUTE", "1")
    pid = fresh_server.wait_for_worker("functions")
    fresh_server.kill()
    wait_until(lambda: not runs(pid), 10, "the worker has ended")


@pytest.mark.parametrize("value", ["2**70", "'\\ud800'", "[2**64]", "[[['\\udfff']]]"])
def test_an_answer_that_no_reply_can_hold_is_an_error_of_the_function(
    client: redis.Redis, value: str
) -> None:
    register(client, answering_misses("m", f"    override_reply({value})\n"))
    assert client.get("m1") is None
    (registration,) = client.execute_command("RG.DUMPREGISTRATIONS")
    data = registration[registration.index(b"RegistrationData") + 1]
    assert data[data.index(b"numFailures") + 1] == 1


def test_an_override_is_made_once(client: redis.Redis) -> None:
    register(client, answering_misses("m", "    override_reply('first')\n    override_reply('second')\n"))
    assert client.get("m1") == b"first"


def test_a_worker_needs_no_torch(server: Server, client: redis.Redis) -> None:
    script = (
        "import sys\nheavy = {'torch', 'numpy', 'transformers'} & set(sys.modules)\n"
        "execute('SET', 'result', ','.join(heavy))"
    )
    client.execute_command("RG.PYEXECUTE", script)
    assert client.get("result") == b""


@pytest.mark.parametrize("name", ["def", "async def"])
def test_a_function_cannot_end_its_process_politely(server: Server, client: redis.Redis, name: str) -> None:
    register(
        client,
        f"import sys\n{name} f(x):\n    sys.exit(3)\n"
        "GB('CommandReader').map(f).register(trigger='leave', mode='async_local')",
    )
    pid = server.wait_for_worker("functions")
    for _ in range(3):
        with pytest.raises(ResponseError):
            client.execute_command("RG.TRIGGER", "leave")
    assert server.worker_pid("functions") == pid


def test_a_task_of_a_coroutine_cannot_end_the_process(server: Server, client: redis.Redis) -> None:
    register(
        client,
        "import sys\n"
        "async def leave():\n    sys.exit(3)\n"
        "async def f(x):\n"
        "    task = asyncio.create_task(leave())\n"
        "    await asyncio.sleep(0.05)\n"
        "    return 'still here'\n"
        "GB('CommandReader').map(f).register(trigger='t', mode='async_local')",
    )
    pid = server.wait_for_worker("functions")
    assert client.execute_command("RG.TRIGGER", "t") == [b"still here"]
    assert server.worker_pid("functions") == pid


def test_a_sync_function_that_hangs_is_given_up_and_its_worker_replaced(
    server: Server, client: redis.Redis
) -> None:
    register(
        client,
        "import time\n"
        "GB().foreach(lambda r: time.sleep(100)).register(prefix='k*', eventTypes=['set'], mode='sync')",
    )
    pid = server.wait_for_worker("functions")
    client.config_set("keymiss.sync-timeout-ms", 300)
    client.config_set("keymiss.hang-timeout-ms", 1000)
    started = monotonic()
    assert client.set("k1", "v")
    assert monotonic() - started < 5
    assert client.get("k1") == b"v"
    wait_until(lambda: server.worker_pid("functions") not in (0, pid), 20, "there is another worker")
    wait_until(lambda: client.execute_command("RG.PYEXECUTE", "1") == b"OK", 20, "it runs scripts")


def test_closed_outputs_cost_nothing(fresh_server: Server) -> None:
    """The thread that carries what functions print ends with the last of them."""
    carried = (
        "import threading\n"
        "names = [thread.name for thread in threading.enumerate()]\n"
        "execute('SET', 'carried', int('output' in names))"
    )

    def carries(client: redis.Redis) -> bool:
        register(client, carried)
        return client.get("carried") == b"1"

    with fresh_server.client() as client:
        register(client, "import os, sys\nos.close(1)\nprint('still told', file=sys.stderr)")
        wait_until(lambda: "still told" in fresh_server.log, 10.0, "the other is carried")
        assert carries(client)
        register(client, "import os\nos.close(2)")
        wait_until(lambda: not carries(client), 10.0, "nothing is left to carry")
