"""`execute` from wherever user code runs: scripts, the pool, coroutines, sync jobs, threads of its own."""

from __future__ import annotations

import concurrent.futures
import re
from time import monotonic

import pytest
import redis
from redis.exceptions import ResponseError
from support.functions import register
from support.server import Server
from support.waiting import wait_until

HUGE = 5_000_000


def result(client: redis.Redis, script: str) -> bytes:
    """What a script stored under `result`."""
    assert client.execute_command("RG.PYEXECUTE", script) == b"OK"
    value = client.get("result")
    assert isinstance(value, bytes)
    return value


def test_a_script_executes_commands(client: redis.Redis) -> None:
    assert (
        result(client, "execute('SET', 'result', repr([execute('INCR', 'n') for _ in range(3)]))")
        == b"[1, 2, 3]"
    )


def test_binary_values_come_as_bytearrays(client: redis.Redis) -> None:
    client.set("raw", b"\xff\x00")
    assert (
        result(client, "execute('SET', 'result', repr(execute('GET', 'raw')))") == b"bytearray(b'\\xff\\x00')"
    )


def test_a_reply_of_megabytes_is_whole(client: redis.Redis) -> None:
    client.set("big", b"x" * HUGE)
    script = "v = execute('GET', 'big')\nexecute('SET', 'copy', v)\nexecute('SET', 'result', len(v))"
    assert result(client, script) == b"%d" % HUGE
    assert client.strlen("copy") == HUGE


def test_a_coroutine_executes_commands_while_others_wait(client: redis.Redis) -> None:
    register(
        client,
        "import asyncio\n"
        "async def f(x):\n"
        "    await asyncio.sleep(0.05)\n"
        "    return execute('INCR', 'n')\n"
        "GB('CommandReader').map(f).register(trigger='count', mode='async_local', convertToStr=False)",
    )
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        replies = pool.map(lambda _: client.execute_command("RG.TRIGGER", "count"), range(40))
    assert sorted(reply[0] for reply in replies) == list(range(1, 41))


def test_a_sync_job_is_served_while_a_coroutine_waits_for_the_server(client: redis.Redis) -> None:
    """The loop's thread is inside an execute most of the time; sync jobs must come through in between."""
    register(
        client,
        "async def busy(x):\n"
        "    for _ in range(300): execute('INCR', 'busy')\n"
        "    return 'done'\n"
        "GB('CommandReader').map(busy).register(trigger='busy', mode='async_local')\n"
        "GB('KeysReader').foreach(lambda r: execute('INCR', 'seen'))"
        ".register(prefix='k*', eventTypes=['set'], mode='sync')",
    )
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(client.execute_command, "RG.TRIGGER", "busy") for _ in range(3)]
        for i in range(100):
            client.set(f"k{i}", "v")
        assert [b.result()[0] for b in busy] == [b"done"] * 3
    assert (client.get("seen"), client.get("busy")) == (b"100", b"900")


def test_a_thread_that_a_script_starts_executes_commands_while_the_script_runs(client: redis.Redis) -> None:
    script = (
        "from threading import Thread\n"
        "t = Thread(target=lambda: execute('SET', 'th', 'done'))\n"
        "t.start(); t.join()\n"
        "execute('SET', 'result', execute('GET', 'th'))"
    )
    assert result(client, script) == b"done"


def test_commands_run_in_the_database_of_the_client(server: Server) -> None:
    with server.client(db=3) as third, server.client() as zeroth:
        third.execute_command("RG.PYEXECUTE", "execute('SET', 'here', '3')")
        assert (third.get("here"), zeroth.get("here")) == (b"3", None)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("execute('INCR', 'text')", "ERR value is not an integer or out of range"),
        (
            "execute('LPUSH', 'text', 'x')",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("execute('NOSUCH')", "No such file or directory"),
        ("execute('CONFIG', 'NOSUCH')", "No such file or directory"),
        ("execute('')", "No such file or directory"),
        ("execute('GET')", "Invalid argument"),
        ("execute('RG.TRIGGER')", "ERR wrong number of arguments for 'rg.trigger' command"),
        ("execute('AI.TENSORGET')", "ERR wrong number of arguments for 'ai.tensorget' command"),
        ("execute(5)", "the given command must be a string"),
        ("execute('SET', 'k', '\\ud800')", "a string with a lone surrogate cannot be encoded as UTF-8"),
    ],
)
def test_errors_are_raised(client: redis.Redis, call: str, error: str) -> None:
    client.set("text", "abc")
    script = (
        f"try:\n    {call}\nexcept Exception as e:\n    kind = type(e)\n"
        "    execute('SET', 'result', kind.__module__ + '.' + kind.__name__ + ' ' + str(e))"
    )
    assert result(client, script).decode() == f"gears.error {error}"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("setFutureResults(5, 1)", "future argument must be a future"),
        ("setFutureException(None, 'no')", "future argument must be a future"),
        ("runCoroutine(z(), delay='a')", "delay argument must be a number"),
        ("runCoroutine(z)", "coroutine argument must be a coroutine"),
        ("GB().register(eventTypes='set')", "given eventTypes must be a list"),
        ("GB().register(keyTypes='hash')", "given keyTypes must be a list"),
        ("GB().register(commands='get')", "given commands must be a list"),
        ("GB('StreamReader').register(duration=-1)", "duration argument must not be negative"),
        ("GB('StreamReader').register(onFailedRetryInterval=-1)", "onFailedRetryInterval argument must not"),
    ],
)
def test_arguments_that_would_do_nothing_are_refused(client: redis.Redis, call: str, error: str) -> None:
    with pytest.raises(redis.ResponseError, match=re.escape(error)):
        client.execute_command("RG.PYEXECUTE", f"async def z(): pass\n{call}")
    assert client.execute_command("RG.DUMPREGISTRATIONS") == []


def test_a_tensor_is_no_argument(client: redis.Redis) -> None:
    script = "import redisAI\nexecute('SET', 'k', redisAI.createTensorFromValues('FLOAT', [1], [1.0]))"
    with pytest.raises(ResponseError, match="setTensorInKey"):
        client.execute_command("RG.PYEXECUTE", script)


def test_many_threads_share_the_channel(client: redis.Redis) -> None:
    script = (
        "from threading import Thread\n"
        "def count():\n"
        "    for _ in range(200): execute('INCR', 'n')\n"
        "threads = [Thread(target=count) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "execute('SET', 'result', execute('GET', 'n'))"
    )
    assert result(client, script) == b"1600"


def test_a_background_coroutine_outlives_its_script(client: redis.Redis) -> None:
    client.execute_command(
        "RG.PYEXECUTE",
        "async def later():\n"
        "    await asyncio.sleep(0.1)\n"
        "    execute('SET', 'later', hashtag())\n"
        "runCoroutine(later())",
    )
    wait_until(lambda: client.get("later") == b"06S", 10, "the coroutine has run")


def test_a_time_event_fires_again_and_again(client: redis.Redis) -> None:
    client.execute_command("RG.PYEXECUTE", "registerTE(1, lambda: execute('INCR', 'ticks'))")
    wait_until(lambda: int(client.get("ticks") or 0) >= 2, 10, "two ticks")


def test_a_time_event_that_would_end_its_process_fires_again(client: redis.Redis) -> None:
    script = (
        "import sys\ndef tick():\n    execute('INCR', 'ticks')\n    sys.exit('once')\nregisterTE(1, tick)"
    )
    client.execute_command("RG.PYEXECUTE", script)
    wait_until(lambda: int(client.get("ticks") or 0) >= 2, 10, "two ticks")


def test_log_writes_to_the_log_of_the_server(server: Server, client: redis.Redis) -> None:
    client.execute_command("RG.PYEXECUTE", "log('a line\\nin the log', level='warning')")
    wait_until(lambda: "a line in the log" in server.log, 10, "the line is in the log")


def test_async_io_of_users_works_as_in_any_task(client: redis.Redis) -> None:
    """Coroutines are real tasks from their first step on: what needs the current task finds it."""
    register(
        client,
        "async def f(x):\n"
        "    me = asyncio.current_task()\n"
        "    async def one(n):\n"
        "        await asyncio.sleep(0.01)\n"
        "        return n\n"
        "    try:\n"
        "        await asyncio.wait_for(asyncio.sleep(30), 0.02)\n"
        "    except asyncio.TimeoutError:\n"
        "        found = await asyncio.gather(one(1), asyncio.create_task(one(2)))\n"
        "    return [me is asyncio.current_task(), *found]\n"
        "GB('CommandReader').map(f).register(trigger='t', mode='async_local')",
    )
    assert client.execute_command("RG.TRIGGER", "t") == [b"[True, 1, 2]"]


def test_a_busy_function_does_not_keep_coroutines_waiting(client: redis.Redis) -> None:
    register(
        client,
        "import time\n"
        "def spin(x):\n"
        "    end = time.monotonic() + 3\n"
        "    while time.monotonic() < end: pass\n"
        "async def quick(x):\n"
        "    return 'quick'\n"
        "GB('CommandReader').map(spin).register(trigger='spin', mode='async_local')\n"
        "GB('CommandReader').map(quick).register(trigger='quick', mode='async_local')",
    )
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        spins = [pool.submit(client.execute_command, "RG.TRIGGER", "spin") for _ in range(2)]
        started = monotonic()
        for _ in range(20):
            assert client.execute_command("RG.TRIGGER", "quick") == [b"quick"]
        assert monotonic() - started < 2.5
        for spin in spins:
            spin.result()


@pytest.mark.parametrize(
    ("awaited", "result"),
    [
        ("[f.result() for f in (await asyncio.wait([executeAsync('PING')]))[0]]", "['PONG']"),
        ("[f.exception() for f in (await asyncio.wait([executeAsync('PING')]))[0]]", "[None]"),
        (
            "[repr(f.exception()) for f in (await asyncio.wait([executeAsync('LPUSH')]))[0]]",
            "[\"error('Invalid argument')\"]",
        ),
        (
            "await asyncio.gather(executeAsync('PING'), executeAsync('LPUSH'), return_exceptions=True)",
            "['PONG', error('Invalid argument')]",
        ),
        ("await asyncio.wait_for(executeAsync('PING'), 9)", "PONG"),
        ("await asyncio.shield(executeAsync('PING'))", "PONG"),
        ("[await f for f in asyncio.as_completed([executeAsync('PING')])]", "['PONG']"),
        ("asyncio.isfuture(redisAI.getTensorFromKeyAsync('nokey'))", "True"),
    ],
)
def test_what_is_awaited_is_a_future(client: redis.Redis, awaited: str, result: str) -> None:
    register(
        client,
        f"import redisAI\nasync def f(x):\n    return {awaited}\n"
        "GB('CommandReader').map(f).register(trigger='t', mode='async_local')",
    )
    assert client.execute_command("RG.TRIGGER", "t") == [result.encode()]


def test_coroutines_wait_for_replies_together(client: redis.Redis) -> None:
    register(
        client,
        "async def f(x):\n"
        "    await asyncio.gather(*(executeAsync('INCR', 'n') for _ in range(100)))\n"
        "    try:\n"
        "        await executeAsync('INCR', 'text')\n"
        "    except redisgears.GearsError as e:\n"
        "        return [await executeAsync('GET', 'n'), str(e)]\n"
        "GB('CommandReader').map(f).register(trigger='t', mode='async_local')",
    )
    client.set("text", "abc")
    (reply,) = client.execute_command("RG.TRIGGER", "t")
    assert reply == b"['100', 'ERR value is not an integer or out of range']"
