"""What killed or hung RedisGears 1.2.13 is answered, and the server goes on (docs/redisgears.md lists it)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import ResponseError
from support import torch_models
from support.functions import answering_misses, register, wait_until_idle
from support.waiting import wait_until

DEADLINE_S = 20.0
MISSED = "GB().foreach(f).register(prefix='m*', {} eventTypes=['keymiss'], mode='sync')"


@pytest.fixture(autouse=True)
def _it_goes_on(client: redis.Redis) -> Iterator[None]:
    yield
    assert client.execute_command("RG.PYEXECUTE", "GB('PythonReader').run(lambda: iter([1]))") == [[b"1"], []]


def results(client: redis.Redis, script: str) -> tuple[list[bytes], list[bytes]]:
    answered, errors = client.execute_command("RG.PYEXECUTE", script)
    return answered, errors


def last_error(client: redis.Redis) -> bytes:
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    data = entry[7]
    return data[data.index(b"lastError") + 1]


def test_a_sync_function_behind_incrbyfloat(client: redis.Redis) -> None:
    register(client, "GB().foreach(lambda r: execute('INCR', 'n')).register(prefix='k*', mode='sync')")
    assert client.execute_command("INCRBYFLOAT", "k1", "1.5") in (b"1.5", 1.5)
    assert client.get("n") == b"1"


def test_a_coroutine_that_answers_a_miss_where_the_server_waits(client: redis.Redis) -> None:
    register(client, "async def f(r):\n    override_reply('x')\n" + MISSED.format("commands=['get'],"))
    assert client.get("m1") == b"x"
    with client.pipeline(transaction=True) as pipe:
        assert pipe.get("m1").execute() == [None]
    assert b"Creating async record is not allowed" in last_error(client)


def test_a_coroutine_that_writes_the_key_whose_miss_fires_it(client: redis.Redis) -> None:
    register(client, "async def f(r):\n    execute('SET', r['key'], 'x')\n" + MISSED.format(""))
    assert client.get("m1") is None
    wait_until(lambda: client.get("m1") == b"x", DEADLINE_S, "it is written")


def test_a_coroutine_that_raises_in_accumulate(client: redis.Redis) -> None:
    script = "async def f(a, x):\n    raise Exception('in accumulate')\n"
    script += "GB('PythonReader').accumulate(f).run(lambda: iter([1, 2]))"
    assert results(client, script) == ([], [b"in accumulate"])


@pytest.mark.parametrize(("value", "error"), [("2 ** 70", "more than 64 bits"), (r"'\ud800'", "surrogate")])
def test_a_raw_result_that_no_reply_can_hold(client: redis.Redis, value: str, error: str) -> None:
    script = f"GB('PythonReader').run(lambda: iter([{value}, 1]), convertToStr=False)"
    (refused, one), errors = results(client, script)
    assert isinstance(refused, ResponseError) and error in str(refused)
    assert (one, errors) == (1, [])


def test_an_overriding_reply_of_more_than_64_bits(client: redis.Redis) -> None:
    register(client, answering_misses("m", "    override_reply(2 ** 70)\n"))
    assert client.get("m1") is None
    assert b"more than 64 bits" in last_error(client)


@pytest.mark.parametrize("word", ["STATS", "RESET"])
def test_a_profile_of_no_session(client: redis.Redis, word: str) -> None:
    with pytest.raises(ResponseError, match="wrong number of arguments"):
        client.execute_command("RG.PYPROFILE", word)


def test_a_function_executes_commands_that_wait_for_a_model(client: redis.Redis) -> None:
    torch_models.store(client, "double", torch_models.doubler())
    torch_models.set_tensor(client, "in", 1, 2)
    script = "def f(x):\n    execute('AI.MODELEXECUTE', 'double', 'INPUTS', 1, 'in', 'OUTPUTS', 1, 'out')\n"
    script += (
        "    return execute('AI.DAGEXECUTE_RO', 'LOAD', 1, 'in', '|>', 'AI.TENSORGET', 'in', 'VALUES')\n"
    )
    answered, errors = results(client, script + "GB('PythonReader').map(f).run(lambda: iter([1]))")
    assert (answered, errors) == ([b"[['1', '2']]"], [])
    assert client.execute_command("AI.TENSORGET", "out", "VALUES") == [b"2", b"4"]


def test_what_is_no_tensor_is_not_stored(client: redis.Redis) -> None:
    with pytest.raises(ResponseError, match="not of type PyTensor"):
        client.execute_command("RG.PYEXECUTE", "import redisAI\nredisAI.msetTensorsInKeyspace({'a': 1})")


@pytest.mark.parametrize("kind", ["stream", "empty"])
def test_key_types_that_could_not_be_shown(client: redis.Redis, kind: str) -> None:
    register(client, f"GB().foreach(lambda r: execute('INCR', 'n')).register('k*', keyTypes=['{kind}'])")
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    arguments = entry[7][entry[7].index(b"args") + 1]
    assert arguments[arguments.index(b"keyTypes") + 1] == [kind.encode()]
    assert client.info("everything")
    client.xadd("k", {"field": "value"})
    client.delete("k")
    wait_until(lambda: client.get("n") == b"1", DEADLINE_S, "it fired once")


def test_a_thread_that_executes_while_its_script_runs(client: redis.Redis) -> None:
    script = "from threading import Thread\nThread(target=lambda: execute('SET', 'th', 'done')).start()\n"
    register(client, script + "while not execute('GET', 'th'): pass")
    assert client.get("th") == b"done"


def test_a_reader_without_end_is_aborted(client: redis.Redis) -> None:
    started = client.execute_command("RG.PYEXECUTE", "GB('PythonReader').run(lambda: 1)", "UNBLOCKING")
    assert client.execute_command("RG.ABORTEXECUTION", started) == b"OK"
    assert client.execute_command("RG.DROPEXECUTION", started) == b"OK"
    assert started not in [entry[1] for entry in client.execute_command("RG.DUMPEXECUTIONS")]


def test_a_function_that_fires_itself(client: redis.Redis) -> None:
    """Where that is not bounded (test_refires.py)."""
    client.config_set("keymiss.max-refires", 0)
    register(
        client,
        "GB().foreach(lambda r: execute('INCR', r['key'])).register('k*', mode='async_local')",
    )
    client.set("k1", 0)
    wait_until(lambda: int(client.get("k1") or 0) > 20, DEADLINE_S, "it goes round")
    (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    assert client.execute_command("RG.UNREGISTER", entry[1]) == b"OK"
    wait_until_idle(client, DEADLINE_S)


def test_an_argument_keeps_its_nul_bytes(client: redis.Redis) -> None:
    register(client, "GB('CommandReader').map(lambda argv: len(argv[1])).register(trigger='t')")
    assert client.execute_command("RG.TRIGGER", "t", b"a\0b") == [b"3"]


def test_multi_is_refused(client: redis.Redis) -> None:
    with pytest.raises(ResponseError, match="acts on a client's connection"):
        client.execute_command("RG.PYEXECUTE", "execute('MULTI')")
