"""What scripts ask of the shard, by redis.execute and redisAI.model_execute: done as their user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis
from support import torch_models, torch_scripts
from support.running import models_worker_held, sent, wait_until_running
from support.server import Server
from support.torch_scripts import execute
from support.waiting import wait_until

DENIED = "NOPERM"


@pytest.fixture
def calls(client: redis.Redis) -> redis.Redis:
    """A client whose server has the script `s`: `call` runs its arguments as a command."""
    torch_scripts.store(client, "s", "call", "redis.execute(args[0], args[1:])", "return torch.ones([1])")
    return client


@pytest.fixture
def someone(server: Server, calls: redis.Redis) -> Iterator[redis.Redis]:
    """A client of a user who may touch `s` and keys that begin with `mine`, and administer nothing."""
    calls.execute_command(
        "ACL", "SETUSER", "someone", "reset", "on", ">secret", "+@all", "-@admin", "-dbsize", "~s", "~mine*"
    )
    with contextlib.closing(server.client(username="someone", password="secret")) as client:
        yield client
    calls.acl_deluser("someone")


def _call(client: redis.Redis, *command: str) -> None:
    words = (
        "AI.SCRIPTEXECUTE",
        "s",
        "call",
        "INPUTS",
        0,
        "ARGS",
        len(command),
        *command,
        "OUTPUTS",
        1,
        "mine:y",
    )
    assert client.execute_command(*words) == b"OK"


def _refused(client: redis.Redis, match: str, *command: str) -> None:
    with pytest.raises(redis.ResponseError, match=match):
        _call(client, *command)
    assert client.echo("in step") == b"in step"


@pytest.mark.parametrize(
    ("command", "match"),
    [
        ("AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y", "redisAI.model_execute runs a model"),
        ("ai.modelrun m INPUTS x OUTPUTS y", "redisAI.model_execute runs a model"),
        ("AI.SCRIPTEXECUTE s call INPUTS 0", "can be called by its name"),
        ("AI.SCRIPTRUN s call", "can be called by its name"),
        ("AI.DAGEXECUTE |> AI.TENSORSET x INT8 1", "a DAG can have several scripts"),
        ("AI.DAGRUN_RO |> AI.TENSORSET x INT8 1", "a DAG can have several scripts"),
        ("AI.MODELSTORE m TORCH CPU BLOB b", "before the script runs"),
        ("AI.SCRIPTSET n CPU SOURCE b", "before this one runs"),
        ("RG.TRIGGER t", "a function can run the script"),
        ("WAIT 1 100", "acts on a client's connection"),
        ("UNSUBSCRIBE a", "acts on a client's connection"),
        ("MULTI", "acts on a client's connection"),
        ("NOSUCH a", "unknown command 'NOSUCH'"),
        ("SORT", "wrong number of arguments"),
    ],
)
def test_what_a_script_cannot_run_is_one_error(calls: redis.Redis, command: str, match: str) -> None:
    """9 of the crashes of RedisAI."""
    _refused(calls, match, *command.split())


@pytest.mark.parametrize(
    ("lua", "match"),
    [
        ("redis.call('AI.MODELSTORE', 'n', 'TORCH', 'CPU', 'BLOB', 'b')", "can store no model"),
        ("redis.call('AI.MODELEXECUTE', 'm', 'INPUTS', 1, 'x', 'OUTPUTS', 1, 'y')", "within a transaction"),
        ("redis.call('AI.SCRIPTRUN', 's', 'call', 'INPUTS', 'x', 'OUTPUTS', 'y')", "within a transaction"),
    ],
)
def test_lua_is_no_way_round_that(calls: redis.Redis, lua: str, match: str) -> None:
    torch_models.store(calls, "m", torch_models.doubler())
    torch_models.set_tensor(calls, "x", 1.0)
    _refused(calls, match, "EVAL", lua, "0")


def test_a_blocking_command_answers_at_once(calls: redis.Redis) -> None:
    _call(calls, "BLPOP", "nothing", "0")
    calls.rpush("list", "a", "b")
    _call(calls, "BLPOP", "list", "0")
    assert calls.lrange("list", 0, -1) == [b"b"]


def test_a_script_can_delete_itself_and_all_others(calls: redis.Redis) -> None:
    _call(calls, "AI.SCRIPTDEL", "s")
    assert not calls.exists("s") and calls.exists("mine:y")


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        ("SET mine 1", True),
        ("GET others", False),
        ("MSET mine 1 others 1", False),
        ("CONFIG GET dir", False),
        ("EVAL return(redis.call('SET',KEYS[1],1)) 1 mine", True),
        ("EVAL return(redis.call('SET',KEYS[1],1)) 1 others", False),
        ("EVAL return(redis.call('SET','others',1)) 0", False),
        ("EVAL return(redis.call('DBSIZE')) 0", False),
        ("SORT mine STORE others", False),
        ("ACL DELUSER someone", False),
    ],
)
def test_a_script_is_no_way_round_the_rights_of_its_user(
    calls: redis.Redis, someone: redis.Redis, command: str, allowed: bool
) -> None:
    if allowed:
        _call(someone, *command.split())
        return
    calls.acl_log_reset()
    with pytest.raises(redis.ResponseError, match=r"NOPERM|can't access|can't run|ACL failure"):
        _call(someone, *command.split())
    assert calls.acl_log()[0]["username"] == "someone"
    _call(calls, *command.replace("DELUSER someone", "WHOAMI").split())


def test_a_model_is_read_with_the_rights_of_the_user(calls: redis.Redis, someone: redis.Redis) -> None:
    torch_scripts.store(calls, "s", "run", "return redisAI.model_execute(args[0], tensors, 1)")
    torch_models.store(calls, "m", torch_models.doubler())
    calls.copy("m", "mine:m")
    torch_models.set_tensor(calls, "mine:x", 2.0)
    run = "s run INPUTS 1 mine:x ARGS 1 {} OUTPUTS 1 mine:y"
    assert execute(someone, run.format("mine:m")) == b"OK"
    assert torch_models.get_tensor(someone, "mine:y") == [b"4"]
    for key, match in [("m", DENIED), ("mine:none", "model key is empty"), ("mine:x", "WRONGTYPE")]:
        with pytest.raises(redis.ResponseError, match=match):
            execute(someone, run.format(key))
    assert execute(calls, run.format("m")) == b"OK"


def test_what_a_deleted_user_s_script_asks_is_denied(
    calls: redis.Redis, server: Server, someone: redis.Redis
) -> None:
    torch_scripts.store(
        calls,
        "s",
        "f",
        "y = redisAI.model_execute('mine:slow', tensors, 1)",
        "redis.execute('SET', 'mine', '1')",
        "return y",
    )
    torch_models.store(calls, "mine:slow", torch_models.slow())
    torch_models.set_tensor(calls, "mine:x", 20_000.0)
    words = "s f INPUTS 1 mine:x OUTPUTS 1 mine:y"
    with (
        models_worker_held(calls) as go_on,
        sent(someone, "AI.SCRIPTEXECUTE", *words.split()) as connection,
    ):
        wait_until_running(calls, 1)
        calls.acl_deluser("someone")
        go_on()
        with pytest.raises((redis.ConnectionError, redis.ResponseError)):  # the server closes the connection
            connection.read_response()
    wait_until_running(calls, 0)
    assert not calls.exists("mine")


def test_a_full_server_takes_no_more_from_a_script(calls: redis.Redis, other: redis.Redis) -> None:
    torch_scripts.store(
        calls,
        "s",
        "f",
        "y = redisAI.model_execute('slow', tensors, 1)",
        "redis.execute('DEL', 'k')",
        "redis.execute('SET', 'k', '1')",
        "return y",
    )
    torch_models.store(calls, "slow", torch_models.slow())
    torch_models.set_tensor(calls, "x", 20_000.0)
    calls.set("k", "old")
    with (
        models_worker_held(other) as go_on,
        sent(calls, "AI.SCRIPTEXECUTE", "s", "f", "INPUTS", 1, "x", "OUTPUTS", 1, "y") as connection,
    ):
        wait_until_running(other, 1)
        other.config_set("maxmemory", 1)
        go_on()
        try:
            other.ping()
            with pytest.raises(redis.ResponseError, match="OOM"):
                connection.read_response()
        finally:
            other.config_set("maxmemory", 0)
    assert not calls.exists("k")


def test_a_script_that_a_sync_function_waits_for_is_served(calls: redis.Redis) -> None:
    function = (
        "def run(record):\n"
        "    words = 's call INPUTS 0 ARGS 3 SET written 1 OUTPUTS 1 y'.split()\n"
        "    execute('AI.SCRIPTEXECUTE', *words)\n"
        "GB('KeysReader').foreach(run).register(prefix='watched', mode='sync', readValue=False)\n"
    )
    calls.execute_command("RG.PYEXECUTE", function)
    calls.set("watched", "0")  # nobody waits for this one where an earlier test's event was never answered
    wait_until(lambda: calls.getdel("written") == b"1", 10, "the function wrote its key")
    calls.set("watched", "1")
    assert calls.get("written") == b"1"


def test_commands_of_a_script_reach_the_replica_in_order(replicated: tuple[Server, Server]) -> None:
    with (
        contextlib.closing(replicated[0].client()) as primary,
        contextlib.closing(replicated[1].client()) as replica,
    ):
        torch_scripts.store(
            primary,
            "s",
            "f",
            "for i in range(50):",
            "    redis.execute('RPUSH', 'list', str(i))",
            "return tensors[0]",
        )
        torch_models.set_tensor(primary, "x", 1.0)
        assert execute(primary, "s f INPUTS 1 x OUTPUTS 1 y") == b"OK"
        primary.wait(1, 10_000)
        assert replica.lrange("list", 0, -1) == [str(i).encode() for i in range(50)]
        assert replica.execute_command("AI.SCRIPTGET", "s") == primary.execute_command("AI.SCRIPTGET", "s")
