"""Commands that go through functions: who is answered by whom, and when the command's own reply stands."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
import redis
from support.functions import answering_misses, register
from support.running import sent
from support.server import Server
from support.waiting import wait_until


def _functions_run(client: redis.Redis) -> int:
    return int(client.info("keymiss")["keymiss_events_fired"])


@pytest.fixture
def answering(client: redis.Redis) -> redis.Redis:
    """A client of a server that answers misses below `m:`."""
    register(client, answering_misses("m:"))
    return client


def test_a_miss_is_answered_by_the_function(answering: redis.Redis) -> None:
    assert answering.get("m:1") == b"answer for m:1"


def test_a_hit_runs_no_function(answering: redis.Redis) -> None:
    answering.set("m:1", "kept")
    before = _functions_run(answering)
    assert answering.get("m:1") == b"kept"
    assert _functions_run(answering) == before


def test_a_miss_below_another_prefix_runs_no_function(answering: redis.Redis) -> None:
    before = _functions_run(answering)
    assert answering.get("n:1") is None
    assert _functions_run(answering) == before


def test_one_miss_runs_the_function_once(answering: redis.Redis) -> None:
    before = _functions_run(answering)
    assert answering.get("m:1") == b"answer for m:1"
    assert _functions_run(answering) == before + 1


@pytest.mark.parametrize("name", ["GET", "get", "gEt"])
def test_the_command_may_be_typed_in_any_case(answering: redis.Redis, name: str) -> None:
    assert answering.execute_command(name, "m:1") == b"answer for m:1"


def test_binary_keys_are_answered(client: redis.Redis) -> None:
    register(client, answering_misses("m:", "    override_reply('x')\n"))
    assert client.get(b"m:\x00\xff\r\n") == b"x"


def test_the_wrong_number_of_arguments_is_the_commands_own_error(answering: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
        answering.execute_command("GET", "m:1", "m:2")


def test_the_wrong_type_is_the_commands_own_error(answering: redis.Redis) -> None:
    answering.rpush("m:list", "element")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        answering.get("m:list")


def test_inside_multi_the_plain_reply_is_given(answering: redis.Redis) -> None:
    with answering.pipeline(transaction=True) as transaction:
        transaction.get("m:1")
        transaction.set("m:2", "v")
        transaction.get("m:2")
        assert transaction.execute() == [None, True, b"v"]


def test_inside_a_script_the_plain_reply_is_given(answering: redis.Redis) -> None:
    assert answering.eval("return redis.call('GET', KEYS[1])", 1, "m:1") is None


def test_what_was_queued_before_the_registration_went_still_runs(
    answering: redis.Redis, server: Server
) -> None:
    answering.set("m:1", "v")
    with answering.pipeline(transaction=True) as transaction:
        transaction.immediate_execute_command("MULTI")
        transaction.immediate_execute_command("GET", "m:1")
        with contextlib.closing(server.client()) as other:
            for entry in other.execute_command("RG.DUMPREGISTRATIONS"):
                other.execute_command("RG.UNREGISTER", entry[1])
        assert transaction.immediate_execute_command("EXEC") == [b"v"]


def test_watched_keys_are_watched_through_the_hook(answering: redis.Redis, server: Server) -> None:
    with answering.pipeline(transaction=True) as transaction:
        transaction.watch("m:1")
        with contextlib.closing(server.client()) as other:
            other.set("m:1", "changed")
        transaction.multi()
        transaction.get("m:1")
        with pytest.raises(redis.WatchError):
            transaction.execute()


def test_pipelined_misses_are_answered_in_order(answering: redis.Redis) -> None:
    answering.set("m:2", "hit")
    with answering.pipeline(transaction=False) as pipeline:
        for n in range(5):
            pipeline.get(f"m:{n}")
        pipeline.ping()
        replies = pipeline.execute()
    assert replies == [
        b"answer for m:0",
        b"answer for m:1",
        b"hit",
        b"answer for m:3",
        b"answer for m:4",
        True,
    ]


def _raw_reply(server: Server, protocol: int, *command: str) -> bytes:
    """What the server sends for a command, byte for byte."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10.0) as connected:
        connected.sendall(f"HELLO {protocol}\r\nECHO ready\r\n".encode())
        while not (greeting := connected.recv(65536)).endswith(b"$5\r\nready\r\n"):
            assert greeting, "the server closed the connection"
        connected.sendall((" ".join(command) + "\r\n").encode())
        return connected.recv(65536)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("HGETALL", []),
        ("SMEMBERS", []),
        ("ZSCORE", ["member"]),
        ("ZRANGE", ["0", "-1", "WITHSCORES"]),
        ("MGET", ["other"]),
        ("EXISTS", []),
        ("GETEX", []),
        ("HINCRBYFLOAT", ["field", "1.5"]),
        ("ZINCRBY", ["1.5", "member"]),
        ("XADD", ["1-1", "field", "value"]),
    ],
)
def test_the_plain_reply_kept_for_a_waiting_client_is_the_commands_own(
    client: redis.Redis, server: Server, protocol: int, name: str, arguments: list[str]
) -> None:
    """Byte for byte what the same command replies for a key that is not hooked, in both protocols."""
    register(
        client,
        "async def nothing(record): pass\n"
        f"GB().map(nothing).register(prefix='m:*', commands=['{name.lower()}'], mode='async_local')",
    )
    fired = _functions_run(client)
    plain = _raw_reply(server, protocol, name, "n:1", *arguments)
    assert _functions_run(client) == fired
    assert _raw_reply(server, protocol, name, "m:1", *arguments) == plain
    assert _functions_run(client) > fired


def test_a_write_whose_reply_is_overridden_is_written(client: redis.Redis, server: Server) -> None:
    register(
        client,
        "GB().foreach(lambda record: override_reply('+taken'))"
        ".register(prefix='m:*', commands=['set'], eventTypes=['set'], mode='async_local')",
    )
    assert _raw_reply(server, 2, "SET", "m:1", "v") == b"+taken\r\n"
    assert client.get("m:1") == b"v"


def test_first_of_several_overrides_wins_and_the_client_waits_for_all(client: redis.Redis) -> None:
    register(
        client,
        "import asyncio\n"
        "async def fast(record): override_reply('fast')\n"
        "async def slow(record):\n"
        "    await asyncio.sleep(0.2)\n"
        "    execute('SET', 'slow', 'done')\n"
        "    override_reply('slow')\n"
        "for function in (fast, slow):\n"
        "    GB().foreach(function).register(\n"
        "        prefix='m:*', commands=['get'], eventTypes=['keymiss'], mode='async_local')",
    )
    assert client.get("m:1") == b"fast"
    assert client.get("slow") == b"done"


def test_a_function_reading_its_own_key_sees_a_plain_miss(client: redis.Redis) -> None:
    register(client, answering_misses("m:", "    override_reply(str(execute('GET', record['key'])))\n"))
    assert client.get("m:1") == b"None"


def test_commands_of_the_module_that_wait_for_a_worker_cannot_be_hooked(client: redis.Redis) -> None:
    """The hook runs the command, and nothing that a module runs can wait."""
    of_models = "modelget modeldel _modelscan scriptget scriptdel _scriptscan"
    never_wait = {f"ai.{name}" for name in f"tensorset tensorget {of_models} info config".split()}
    listed = client.execute_command("COMMAND LIST", "FILTERBY", "MODULE", "keymiss")
    names = {name.decode() for name in listed}
    assert names > {"ai.modelexecute", "rg.trigger", "keymiss.hook"}
    hooked = set()
    for name in names:
        try:
            register(client, f"GB('CommandReader').map(lambda x: x).register(hook='{name}', mode='sync')")
            hooked.add(name)
        except redis.ResponseError as error:
            assert "may block its client" in str(error)
    assert hooked == never_wait


def test_a_slow_function_is_ended_by_the_deadline_with_an_error(make_server: Any) -> None:
    server: Server = make_server(settings={"keymiss.job-timeout-ms": 500})
    with contextlib.closing(server.client()) as client:
        register(
            client,
            answering_misses("m:", "    import asyncio\n    await asyncio.sleep(30)\n"),
        )
        with pytest.raises(redis.ResponseError, match=r"no answer within|deadline"):
            client.get("m:1")
        assert client.ping()


def test_a_client_that_leaves_lets_its_function_finish(client: redis.Redis, server: Server) -> None:
    """A function may fill a cache: the next client profits from it."""
    register(
        client,
        answering_misses(
            "m:",
            "    import asyncio\n    execute('SET', 'started', '1')\n    await asyncio.sleep(0.2)\n"
            "    execute('SET', record['key'], 'filled')\n",
        ),
    )
    leaving = server.client()
    connection = leaving.connection_pool.get_connection()
    connection.send_command("GET", "m:1")
    wait_until(lambda: client.get("started"), 10.0, "the function has started")
    connection.disconnect()
    leaving.close()
    wait_until(lambda: client.exists("m:1"), 10.0, "the function went on")
    wait_until(lambda: client.info("keymiss")["keymiss_misses_waiting"] == 0, 10.0, "nobody waits any more")


def test_a_command_that_may_block_its_client_cannot_be_hooked(client: redis.Redis) -> None:
    """The hook would answer nil at once: what a module runs never waits."""
    with pytest.raises(redis.ResponseError, match=r"may block|not allowed inside a script"):
        client.execute_command(
            "RG.PYEXECUTE",
            "GB().map(lambda r: 0).register(prefix='l*', commands=['blpop'], mode='async_local')",
        )
    assert int(client.info("keymiss")["keymiss_registrations"]) == 0


@pytest.mark.parametrize(
    ("keys", "hooks"),
    [(("person:1", "other"), b"2"), (("other", "person:1"), b"2"), (("other", "another"), b"1")],
)
def test_one_key_is_enough_for_a_hook_below_another(
    client: redis.Redis, keys: tuple[str, str], hooks: bytes
) -> None:
    script = (
        "def f(x):\n    execute('INCR', 'hooks')\n    return call_next(*x[1:])\n"
        "GB('CommandReader').map(f).register(hook='unlink', {prefix}mode='sync')"
    )
    register(client, script.format(prefix="keyprefix='person:', "))
    register(client, script.format(prefix=""))
    client.execute_command("UNLINK", *keys)
    assert client.get("hooks") == hooks


@pytest.mark.parametrize("change", ["UPGRADE", "RELOAD"])
@pytest.mark.parametrize(("function", "sleep"), [("def", "time.sleep"), ("async def", "await asyncio.sleep")])
def test_a_hook_that_is_replaced_while_it_runs_is_not_called_by_itself(
    client: redis.Redis, function: str, sleep: str, change: str
) -> None:
    script = (
        f"import asyncio, time\n{function} f(x):\n    execute('INCR', 'hooks')\n"
        f"    while not execute('EXISTS', 'go'): {sleep}(0.001)\n    return call_next(*x[1:])\n"
        "GB('CommandReader').map(f).register(hook='hset', mode='async_local')"
    )
    client.execute_command("RG.PYEXECUTE", script, "ID", "counting")
    with sent(client, "HSET", "h", "field", "value") as connection:
        wait_until(lambda: client.get("hooks") == b"1", 10.0, "the hook runs")
        if change == "UPGRADE":
            client.execute_command("RG.PYEXECUTE", script, "ID", "counting", "UPGRADE")
        else:
            client.execute_command("DEBUG", "RELOAD")
        client.set("go", 1)
        assert connection.read_response() == b"1"
    assert (client.hget("h", "field"), client.get("hooks")) == (b"value", b"1")
