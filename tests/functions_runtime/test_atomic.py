"""`with atomic():` nobody else is served in between, and nothing inside it can lock the server up."""

from __future__ import annotations

import concurrent.futures
import re

import pytest
import redis
from support.functions import register
from support.server import Server

TWO_WRITES = (
    "import time\n"
    "def f(x):\n"
    "    with atomic():\n"
    "        n = execute('INCR', 'first')\n"
    "        time.sleep(0.005)\n"
    "        execute('SET', 'second', n)\n"
    "    return n\n"
    "GB('CommandReader').map(f).register(trigger='two', mode='async_local', convertToStr=False)\n"
)


def test_others_see_all_or_nothing(server: Server, client: redis.Redis) -> None:
    register(client, TWO_WRITES)
    with concurrent.futures.ThreadPoolExecutor(4) as pool, server.client() as other:
        runs = [pool.submit(client.execute_command, "RG.TRIGGER", "two") for _ in range(30)]
        while not all(run.done() for run in runs):
            first, second = other.mget("first", "second")
            assert first == second
        assert sorted(run.result()[0] for run in runs) == list(range(1, 31))


def test_a_coroutine_and_threads_take_turns(client: redis.Redis) -> None:
    register(
        client,
        TWO_WRITES + "async def g(x):\n"
        "    with atomic():\n"
        "        n = execute('INCR', 'first')\n"
        "        execute('SET', 'second', n)\n"
        "    await asyncio.sleep(0)\n"
        "    with atomic():\n"
        "        return [n] + execute('MGET', 'first', 'second')\n"
        "GB('CommandReader').map(g).register(trigger='co', mode='async_local')\n",
    )
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(client.execute_command, "RG.TRIGGER", name) for name in ["two", "co"] * 15]
        for run in runs:
            assert run.result()
    assert client.mget("first", "second") == [b"30", b"30"]


def test_an_error_inside_ends_the_block(client: redis.Redis) -> None:
    register(
        client,
        "def f(x):\n"
        "    with atomic():\n"
        "        raise ValueError('inside')\n"
        "GB('CommandReader').map(f).register(trigger='t', mode='async_local')",
    )
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            error = pool.submit(client.execute_command, "RG.TRIGGER", "t").exception()
        assert "ValueError: inside" in str(error)
    assert client.ping()


def test_a_block_that_awaits_does_not_stop_the_server(client: redis.Redis) -> None:
    register(
        client,
        "async def f(x):\n"
        "    try:\n"
        "        with atomic():\n"
        "            await asyncio.sleep(0.05)\n"
        "            await asyncio.sleep(0.05)\n"
        "    except Exception as e:\n"
        "        return 'refused: ' + str(e)\n"
        "    return 'done'\n"
        "async def g(x):\n"
        "    return execute('INCR', 'n')\n"
        "GB('CommandReader').map(f).register(trigger='awaits', mode='async_local')\n"
        "GB('CommandReader').flatmap(lambda x: [1, 2]).map(g)"
        ".register(trigger='other', mode='async_local')\n",
    )
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        names = ["awaits", "other", "awaits", "other"]
        replies = [pool.submit(client.execute_command, "RG.TRIGGER", name).result(20) for name in names]
    assert all(reply for reply in replies)
    assert client.ping()


def test_threads_of_a_function_have_blocks_of_their_own(client: redis.Redis) -> None:
    client.execute_command(
        "RG.PYEXECUTE",
        "from threading import Thread\n"
        "def one():\n"
        "    for _ in range(10):\n"
        "        with atomic():\n"
        "            n = int(execute('GET', 'n') or 0)\n"
        "            execute('SET', 'n', n + 1)\n"
        "threads = [Thread(target=one) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]",
    )
    assert client.get("n") == b"40"


OVER = "the atomic block took too long (keymiss.sync-timeout-ms)"
# It goes on inside until nobody is kept waiting any more: what `isInAtomicBlock` says before and after that.
TOO_LONG = (
    "import time\n"
    "def f(x):\n"
    "    end, told = time.monotonic() + 20, []\n"
    "    with atomic():\n"
    "        execute('SET', 'a', 1)\n"
    "        told.append(isInAtomicBlock())\n"
    "        while isInAtomicBlock() and time.monotonic() < end:\n"
    "            time.sleep(0.01)\n"
    "        told.append(isInAtomicBlock())\n"
    "{rest}"
    "    return told\n"
)


def too_long(client: redis.Redis, rest: str, mode: str = "async_local") -> list[bytes]:
    client.config_set("keymiss.sync-timeout-ms", 200)
    script = TOO_LONG.replace("{rest}", rest)
    register(client, f"{script}GB('CommandReader').map(f).register(trigger='long', mode='{mode}')")
    result: list[bytes] = client.execute_command("RG.TRIGGER", "long")
    return result


@pytest.mark.parametrize("mode", ["async_local", "sync"])
def test_nothing_is_written_behind_a_block_that_took_too_long(client: redis.Redis, mode: str) -> None:
    with pytest.raises(redis.ResponseError, match=re.escape(OVER)):
        too_long(client, "        execute('SET', 'b', 1)\n", mode)
    assert client.mget("a", "b") == [b"1", None]


def test_a_block_that_took_too_long_fails_at_its_end(server: Server, client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match=re.escape(OVER)):
        too_long(client, "")
    *_, told = (line for line in server.log.splitlines() if "a run of" in line and OVER in line)
    assert " request=" in told
    assert " registration=" in told


def test_a_block_that_took_too_long_is_none_any_more(client: redis.Redis) -> None:
    refused = (
        "        try:\n"
        "            execute('SET', 'b', 1)\n"
        "        except Exception as e:\n"
        "            told.append(str(e)[:5])\n"
        "        raise ValueError(told)\n"
    )
    with pytest.raises(redis.ResponseError, match=r"ValueError: \[True, False, 'the a'\]"):
        too_long(client, refused)


def test_a_block_after_one_that_took_too_long_is_whole(client: redis.Redis) -> None:
    rest = (
        "    return told\n"
        "g = f\n"
        "def f(x):\n"
        "    try:\n"
        "        g(x)\n"
        "    except Exception:\n"
        "        pass\n"
        "    with atomic():\n"
        "        execute('SET', 'b', 1)\n"
        "        told = isInAtomicBlock()\n"
    )
    assert too_long(client, rest) == [b"True"]
    assert client.get("b") == b"1"
