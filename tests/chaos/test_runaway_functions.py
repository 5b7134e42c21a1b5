"""Functions that run away are stopped by their limits and their callers told; everyone else is served."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from time import monotonic

import psutil
import pytest
import redis
from support.functions import answering_misses, register
from support.load import Load
from support.server import Server
from support.waiting import wait_until

SERVED_WITHIN_S = 10.0  # a plain command beside a runaway, on a machine where that takes all cores


@pytest.fixture
def neighbours(server: Server) -> Iterator[Load]:
    """Other clients that ask all the time, but do not take a core: their commands are answered, each soon."""
    with Load(server.client, lambda client, n: client.set(f"n{n % 8}", n), 2, pause_s=0.005) as load:
        load.wait_for_replies(2)
        yield load
        load.wait_for_replies(20)
    load.check(SERVED_WITHIN_S)
    assert load.errors == []


@pytest.fixture
def others(server: Server, client: redis.Redis) -> Iterator[Callable[[], None]]:
    """Another function, which works before and, `others()` says, after."""
    register(client, answering_misses("q:"))
    assert client.get("q:0") == b"answer for q:0"

    def work() -> None:
        with contextlib.closing(server.client()) as other:
            wait_until(lambda: other.get("q:1") == b"answer for q:1", 30.0, "another function is answered")

    yield work
    work()


def error_of(client: redis.Redis, script: str, *arguments: str) -> str:
    """The error that a script ends with, its own or of what it runs."""
    try:
        reply = client.execute_command("RG.PYEXECUTE", script, *arguments)
    except redis.RedisError as error:
        return str(error)
    return str(reply[1])


def test_a_coroutine_that_never_awaits_is_interrupted(
    client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    client.config_set("keymiss.loop-timeout-ms", 300)
    script = "async def f(r):\n    while True: pass\nGB('PythonReader').map(f).run(lambda: (yield 1))"
    assert "keymiss.loop-timeout-ms" in error_of(client, script)


def test_the_client_of_a_miss_is_told_so(
    client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    register(client, answering_misses("m:", "    while True: pass\n"))
    client.config_set("keymiss.loop-timeout-ms", 300)
    with pytest.raises(redis.ResponseError, match=r"keymiss\.loop-timeout-ms"):
        client.get("m:1")


def test_so_is_one_that_catches_the_interruption_or_sleeps_or_matches_without_end(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    pid = server.wait_for_worker("functions")
    client.config_set("keymiss.loop-timeout-ms", 300)
    for body in (
        "    try:\n        while True: pass\n    except BaseException:\n        while True: pass\n",
        "    import time\n    time.sleep(100)\n",
        "    import re\n    re.match('(a+)+$', 'a' * 60 + 'b')\n",
    ):
        script = f"async def f(r):\n{body}GB('PythonReader').map(f).run(lambda: (yield 1))"
        assert "keymiss.loop-timeout-ms" in error_of(client, script)
    assert server.worker_pid("functions") == pid


def test_a_sync_function_without_end_holds_the_server_for_its_time_only(
    server: Server, client: redis.Redis, others: Callable[[], None]
) -> None:
    register(
        client,
        "def f(r):\n    while True: pass\n"
        "GB().foreach(f).register(prefix='sync*', eventTypes=['set'], mode='sync')",
    )
    pid = server.wait_for_worker("functions")
    client.config_set("keymiss.sync-timeout-ms", 300)
    client.config_set("keymiss.loop-timeout-ms", 600)
    started = monotonic()
    assert client.set("sync1", "v")
    assert monotonic() - started < SERVED_WITHIN_S
    others()
    assert server.worker_pid("functions") == pid


def test_a_loop_that_catches_its_interruption_is_interrupted_again(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    """Once in each thread that there is, and once more: all are had back."""
    stubborn = "while True:\n    try:\n        while True: pass\n    except BaseException: pass"
    pid = server.wait_for_worker("functions")
    client.config_set("keymiss.execution-timeout-ms", 200)
    for _ in range(4):
        assert "within 200 ms" in error_of(client, stubborn)
    wait_until(lambda: client.execute_command("RG.PYEXECUTE", "1") == b"OK", 10.0, "a thread is free")
    assert server.worker_pid("functions") == pid


def test_a_call_that_computes_without_end_costs_its_worker_only(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    """It leaves the interpreter to others and cannot be interrupted, but takes a core: given up after 3 s."""
    pid = server.wait_for_worker("functions")
    client.config_set("keymiss.execution-timeout-ms", 200)
    script = "import hashlib\nhashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 30)"
    assert "within 200 ms" in error_of(client, script)
    server.wait_for_worker("functions", other_than=pid)
    assert "keeps a core busy" in server.log


def test_an_unblocking_execution_without_end_is_stopped(client: redis.Redis, neighbours: Load) -> None:
    client.config_set("keymiss.execution-timeout-ms", 1000)
    script = "def f(r):\n    while True: pass\nGB('PythonReader').map(f).run(lambda: (yield 1))"
    name = client.execute_command("RG.PYEXECUTE", script, "UNBLOCKING")
    client.config_set("keymiss.execution-timeout-ms", 30_000)  # of the command that waits for it
    results, errors = client.execute_command("RG.GETRESULTSBLOCKING", name)
    assert results == []
    assert b"keymiss.execution-timeout-ms" in errors[0]


@pytest.fixture
def small_memory(client: redis.Redis) -> None:
    client.config_set("keymiss.functions-memory", "512mb")


HOGS = {
    "at once": "bytearray(1 << 30)",
    "in pieces": "[bytearray(1 << 20) for _ in range(1000)]",
    "in a result": "'x' * (1 << 30)",
}


@pytest.mark.parametrize("hog", HOGS.values(), ids=HOGS)
@pytest.mark.usefixtures("small_memory")
def test_a_function_that_wants_too_much_memory_gets_an_error(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None], hog: str
) -> None:
    script = f"GB('PythonReader').map(lambda r: len({hog})).run(lambda: (yield 1))"
    pid = server.wait_for_worker("functions")
    assert "MemoryError" in error_of(client, script)
    assert server.worker_pid("functions") == pid


@pytest.mark.usefixtures("small_memory")
def test_a_reply_that_does_not_fit_into_the_memory_holds_up_no_later_call(
    client: redis.Redis, others: Callable[[], None]
) -> None:
    """Each of its parts fits in, all of them together do not."""
    register(
        client,
        "GB('CommandReader').flatmap(lambda argv: ['x' * (int(argv[1]) << 20)] * 10)"
        ".register(trigger='t', inorder=True, convertToStr=False)",
    )
    with pytest.raises(redis.ResponseError, match="MemoryError"):
        client.execute_command("RG.TRIGGER", "t", 64)
    assert client.execute_command("RG.TRIGGER", "t", 0) == [b""] * 10


@pytest.mark.usefixtures("small_memory")
def test_memory_that_functions_keep_is_had_back(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    hoarding = (
        "import sys\nsys.hoard = []\n"
        "try:\n    while True: sys.hoard.append(bytearray(1 << 20))\n"
        "except MemoryError: pass"
    )
    pid = server.wait_for_worker("functions")
    assert error_of(client, hoarding).count("MemoryError") in (0, 1)
    server.wait_for_worker("functions", other_than=pid)


def children_of(server: Server) -> list[psutil.Process]:
    """What the server's functions have started, and have left behind."""
    worker = server.worker_pid("functions")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if process.pid != worker and os.getpgid(process.pid) == worker:
                found.append(process)
    return found


def test_a_function_starts_only_so_many_processes(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    client.config_set("keymiss.functions-children", 3)
    bomb = "import subprocess\nrunning = [subprocess.Popen(['sleep', '100']) for _ in range(10)]"
    assert "keymiss.functions-children" in error_of(client, bomb)
    assert len(children_of(server)) == 3
    forking = "import os\nwhile True:\n    os.fork()"
    assert "keymiss.functions-children" in error_of(client, forking)


def test_a_shell_that_bombs_costs_its_worker_only(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    pid = server.wait_for_worker("functions")
    client.config_set("keymiss.functions-children", 8)
    bomb = "import subprocess\nsubprocess.run('f() { sleep 0.05; f | f & }; f; sleep 100', shell=True)"
    assert "keymiss.functions-children" in error_of(client, bomb)
    server.wait_for_worker("functions", other_than=pid)
    wait_until(lambda: _group(pid) == [], 10.0, "nothing of the bomb is left")


def _group(leader: int) -> list[int]:
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members


@pytest.mark.parametrize("name", ["def", "async def"])
def test_a_fork_in_a_function_answers_nobody_twice(
    client: redis.Redis, server: Server, neighbours: Load, name: str
) -> None:
    register(
        client,
        f"import os\n{name} f(r):\n    return str(os.fork() == 0)\n"
        "GB('CommandReader').map(f).register(trigger='fork', mode='async_local')",
    )
    for _ in range(5):
        assert client.execute_command("RG.TRIGGER", "fork") == [b"False"]


def test_a_huge_result_is_refused(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    client.config_set("keymiss.max-result-bytes", 1 << 20)
    pid = server.wait_for_worker("functions")
    error = error_of(client, "GB('PythonReader').run(lambda: (yield 'x' * (1 << 20)))")
    assert re.search(r"the result has \d+ bytes, 1048576 are allowed \(keymiss.max-result-bytes\)", error)
    assert server.worker_pid("functions") == pid


def test_a_command_that_no_frame_can_hold_is_an_error_of_the_function(
    server: Server, client: redis.Redis, others: Callable[[], None]
) -> None:
    client.config_set("keymiss.max-frame-bytes", 1 << 20)
    pid = server.wait_for_worker("functions")
    assert "keymiss.max-frame-bytes" in error_of(client, "execute('SET', 'k', 'x' * (1 << 20))")
    assert "too long" in error_of(client, "execute('DEL', *[''] * (1 << 20))")
    assert server.worker_pid("functions") == pid


def test_endless_recursion_is_an_error(client: redis.Redis, others: Callable[[], None]) -> None:
    assert "RecursionError" in error_of(client, "def f(): f()\nf()")


def test_a_recursion_that_breaks_the_stack_costs_its_worker_only(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None]
) -> None:
    script = (
        "import sys\nsys.setrecursionlimit(1 << 30)\nnested = []\n"
        "for _ in range(1 << 18): nested = [nested]\nrepr(nested)"
    )
    pid = server.wait_for_worker("functions")
    assert "the functions worker died while it ran this" in error_of(client, script)
    server.wait_for_worker("functions", other_than=pid)


FLOODS = {
    "print": "print('flood' * 20)",
    "log": "log('flood' * 20)",
    "a descriptor": "__import__('os').write(2, b'flood' * 20)",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_output_does_not_fill_the_log(
    server: Server, client: redis.Redis, neighbours: Load, others: Callable[[], None], flood: str
) -> None:
    client.config_set("keymiss.functions-output", "16kb")
    before = server.log_path.stat().st_size
    client.execute_command("RG.PYEXECUTE", f"for _ in range(20000): {flood}")
    wait_until(lambda: "(keymiss.functions-output)" in server.log[before:], 10.0, "it is said in the log")
    assert server.log_path.stat().st_size - before < 1 << 19


def test_what_functions_print_is_in_the_log(server: Server, client: redis.Redis) -> None:
    client.execute_command(
        "RG.PYEXECUTE", "import sys\nprint('to', 'stdout')\nprint('to', 'stderr', file=sys.stderr)"
    )
    wait_until(lambda: "to stdout" in server.log and "to stderr" in server.log, 10.0, "both are there")


def test_a_call_that_holds_the_interpreter_costs_its_worker_only(
    make_server: Callable[..., Server],
) -> None:
    """Nothing of the worker runs beside it: it is the server that finds out. Misses go to the next worker."""
    server = make_server(settings={"keymiss.hang-timeout-ms": 2000})
    with contextlib.closing(server.client()) as client:
        register(client, answering_misses("q:"))
        assert client.get("q:0") == b"answer for q:0"
        pid = server.wait_for_worker("functions")
        with Load(server.client, lambda client, n: client.set("n", n), clients=1) as load:
            assert "it hung" in error_of(client, "import re\nre.match('(a+)+$', 'a' * 60 + 'b')")
            load.wait_for_replies(10)
        load.check(SERVED_WITHIN_S)
        assert load.errors == []
        assert client.get("q:1") == b"answer for q:1"
        assert server.worker_pid("functions") != pid


def test_a_script_that_stops_the_loop_stops_nobody(
    server: Server, client: redis.Redis, others: Callable[[], None]
) -> None:
    pid = server.wait_for_worker("functions")
    client.execute_command("RG.PYEXECUTE", "loop.call_soon_threadsafe(loop.stop)")
    others()
    assert server.worker_pid("functions") == pid
