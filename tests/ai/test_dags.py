"""AI.DAGEXECUTE, AI.DAGRUN and their read-only forms: names, keys, rights, and one answer whatever happens.

`_dag(client, "LOAD 1 x |> AI.TENSORGET x VALUES")` runs AI.DAGEXECUTE with these words.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

import pytest
import redis
from support import torch_models, torch_scripts
from support.cluster import Cluster
from support.run_info import run_info
from support.running import models_worker_held, sent, wait_until_running
from support.server import Server
from support.waiting import wait_until

REFUSED_HERE = "within a transaction or a LUA script"


def _dag(client: redis.Redis, words: str, command: str = "AI.DAGEXECUTE") -> Any:
    """The reply; errors inside it as they are, statuses as bytes."""
    return client.execute_command(command, *words.split())


@pytest.fixture
def doubler(client: redis.Redis) -> redis.Redis:
    """A client whose server has the model `m`, which doubles, and the tensor `x` of 1 and 2."""
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0, 2.0)
    return client


# ---- tensors alone: the worker is not asked ----


def test_tensors_alone_need_no_worker(fresh_server: Server) -> None:
    with contextlib.closing(fresh_server.client()) as client:
        reply = _dag(client, "PERSIST 1 a |> AI.TENSORSET a FLOAT 2 VALUES 1 2 |> AI.TENSORGET a VALUES")
        assert reply == [b"OK", [b"1", b"2"]]
        assert torch_models.get_tensor(client, "a") == [b"1", b"2"]
        assert client.info("keymiss")["keymiss_models_worker"]["state"] == "off"


def test_a_name_means_what_was_made_last(client: redis.Redis) -> None:
    torch_models.set_tensor(client, "a", 1.0)
    reply = _dag(
        client,
        "LOAD 1 a PERSIST 1 a |> AI.TENSORGET a VALUES"
        " |> AI.TENSORSET a INT8 1 VALUES 2 |> AI.TENSORGET a VALUES"
        " |> AI.TENSORSET a INT8 1 VALUES 3 |> AI.TENSORGET a VALUES",
    )
    assert reply == [[b"1"], b"OK", [2], b"OK", [3]]
    assert torch_models.get_tensor(client, "a") == [3]


def test_all_tensors_are_persisted_or_none(client: redis.Redis) -> None:
    client.set("text", "kept")
    reply = _dag(
        client,
        "PERSIST 3 a text b |> AI.TENSORSET a FLOAT 1 |> AI.TENSORSET text FLOAT 1 |> AI.TENSORSET b FLOAT 1",
    )
    assert reply[:3] == [b"OK"] * 3
    assert len(reply) == 4 and str(reply[3]).startswith("WRONGTYPE")
    assert client.exists("a", "b") == 0 and client.get("text") == b"kept"


def test_resp3_gets_numbers(server: Server) -> None:
    with contextlib.closing(server.client(protocol=3)) as client:
        reply = _dag(client, "ROUTING a |> AI.TENSORSET a FLOAT 1 VALUES 0.5 |> AI.TENSORGET a VALUES")
        assert reply == [b"OK", [0.5]]


def test_a_short_command_cannot_take_much_memory(client: redis.Redis) -> None:
    before = client.info("memory")["used_memory"]
    zeroes = " |> ".join("AI.TENSORSET a INT8 400000000" for _ in range(2))
    for words, error in [
        (f"ROUTING a |> {zeroes}", "at most 512 MiB together"),
        ("LOAD 1000000000 |> AI.TENSORGET a VALUES", "tensor key is empty"),
        ("PERSIST 9223372036854775807 |> AI.TENSORSET a FLOAT 1", "does not match"),
        ("ROUTING a " + "|> AI.TENSORSET a FLOAT 1 " * 5000, "at most 4096 commands"),
    ]:
        with pytest.raises(redis.ResponseError, match=error):
            _dag(client, words)
    assert client.info("memory")["used_memory"] - before < 2**20


@pytest.mark.parametrize("command", ["AI.DAGEXECUTE", "AI.DAGEXECUTE_RO", "AI.DAGRUN", "AI.DAGRUN_RO"])
@pytest.mark.parametrize("where", ["transaction", "script"])
def test_no_dag_runs_where_nobody_can_wait(client: redis.Redis, command: str, where: str) -> None:
    words = (command, "ROUTING", "a", "|>", "AI.TENSORSET", "a", "FLOAT", "1")
    with pytest.raises(redis.ResponseError, match=REFUSED_HERE):
        if where == "script":
            client.eval("return redis.call(unpack(ARGV))", 0, *words)
        else:
            pipeline = client.pipeline(transaction=True)
            pipeline.execute_command(*words)
            pipeline.execute()


# ---- keys and rights ----


def test_the_server_learns_every_key(client: redis.Redis) -> None:
    for words, keys in [
        (
            "AI.DAGEXECUTE LOAD 2 a b PERSIST 1 c ROUTING r |> AI.MODELEXECUTE m INPUTS 1 a OUTPUTS 1 c",
            "a b c r m",
        ),
        ("AI.DAGEXECUTE ROUTING r PERSIST 2 b c LOAD 1 a |> AI.TENSORGET a", "r b c a"),
        ("AI.DAGEXECUTE LOAD 1 a |> AI.SCRIPTEXECUTE s f KEYS 2 k l INPUTS 1 a OUTPUTS 1 c", "a s k l"),
        (
            "AI.DAGRUN LOAD 1 a |> AI.SCRIPTRUN s f INPUTS a OUTPUTS c |> AI.MODELRUN m INPUTS c OUTPUTS d",
            "a s m",
        ),
        ("AI.DAGRUN_RO LOAD 1 a |> AI.TENSORGET a", "a"),
        ("AI.DAGEXECUTE LOAD 9 a b |> AI.TENSORGET", "a b |> AI.TENSORGET"),  # as far as they are looked up
    ]:
        assert client.execute_command("COMMAND GETKEYS", *words.split()) == keys.split(), words


def test_asking_for_the_keys_of_a_wrong_dag_is_no_danger(client: redis.Redis) -> None:
    right = "AI.DAGEXECUTE LOAD 1 a PERSIST 1 b |> AI.SCRIPTEXECUTE s f KEYS 1 k INPUTS 1 a OUTPUTS 1 b"
    words = right.split()
    for at in range(1, len(words)):
        for damaged in (words[:at], [*words[:at], "-1", *words[at + 1 :]], words[:at] + words[at + 1 :]):
            with contextlib.suppress(redis.ResponseError):
                client.execute_command("COMMAND GETKEYS", *damaged)
    assert client.ping()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("x", "LOAD 1 x |> AI.TENSORGET x"),
        ("y", "LOAD 1 x PERSIST 1 y |> AI.TENSORSET y FLOAT 1"),
        ("m", "LOAD 1 x |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y"),
        ("s", "LOAD 1 x |> AI.SCRIPTEXECUTE s f KEYS 1 k INPUTS 1 x OUTPUTS 1 y"),
        ("k", "LOAD 1 x |> AI.SCRIPTEXECUTE s f KEYS 1 k INPUTS 1 x OUTPUTS 1 y"),
        ("r", "LOAD 1 x ROUTING r |> AI.TENSORGET x"),
    ],
)
def test_a_dag_is_no_way_round_the_rights_to_a_key(
    server: Server, doubler: redis.Redis, missing: str, words: str
) -> None:
    allowed = [f"~{key}" for key in "xymskr" if key != missing]
    doubler.execute_command("ACL", "SETUSER", "someone", "reset", "on", ">secret", "+@all", *allowed)
    try:
        with (
            contextlib.closing(server.client(username="someone", password="secret")) as someone,
            pytest.raises(redis.exceptions.NoPermissionError),
        ):
            _dag(someone, words)
    finally:
        doubler.acl_deluser("someone")


def test_names_that_are_no_keys_need_no_rights(server: Server, doubler: redis.Redis) -> None:
    doubler.execute_command("ACL", "SETUSER", "someone", "reset", "on", ">secret", "+@all", "%R~x", "%R~m")
    try:
        with contextlib.closing(server.client(username="someone", password="secret")) as someone:
            words = "LOAD 1 x |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y |> AI.TENSORGET y VALUES"
            assert _dag(someone, words) == [b"OK", [b"2", b"4"]]
            with pytest.raises(redis.exceptions.NoPermissionError):
                _dag(someone, "PERSIST 1 x |> AI.TENSORSET x FLOAT 1")
    finally:
        doubler.acl_deluser("someone")


def test_a_replica_hears_of_the_persisted_tensors_at_once_and_runs_no_dag(
    replicated: tuple[Server, Server],
) -> None:
    with (
        contextlib.closing(replicated[0].client()) as primary,
        contextlib.closing(replicated[1].client()) as replica,
    ):
        torch_models.store(primary, "m", torch_models.doubler())
        torch_models.set_tensor(primary, "x", 1.0)
        wait_until(lambda: replica.exists("m", "x") == 2, 10.0, "the replica has the model and its input")
        replica.config_resetstat()
        reply = _dag(
            primary,
            "LOAD 1 x PERSIST 2 x y |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y"
            " |> AI.TENSORSET x FLOAT 1 VALUES 9",
        )
        assert reply == [b"OK", b"OK"]
        wait_until(lambda: replica.exists("y"), 10.0, "the replica has the output")
        assert torch_models.get_tensor(replica, "y") == [b"2"]
        assert torch_models.get_tensor(replica, "x") == [b"9"]
        commands = replica.info("commandstats")
        assert commands["cmdstat_ai.tensorset"]["calls"] == 2
        assert commands["cmdstat_multi"]["calls"] == commands["cmdstat_exec"]["calls"] == 1
        assert not [name for name in commands if "dag" in name]

        read_only = "LOAD 1 x |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y |> AI.TENSORGET y VALUES"
        assert _dag(replica, read_only, "AI.DAGEXECUTE_RO") == [b"OK", [b"18"]]
        with pytest.raises(redis.exceptions.ReadOnlyError):
            _dag(replica, read_only)


def test_a_script_in_a_read_only_dag_writes_nothing_on_a_replica(replicated: tuple[Server, Server]) -> None:
    with (
        contextlib.closing(replicated[0].client()) as primary,
        contextlib.closing(replicated[1].client()) as replica,
    ):
        same, writes = (
            "def same(x):\n    return x\n",
            "def writes(x):\n    redis.execute('SET', 'k', 'v')\n    return x\n",
        )
        primary.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", same + writes)
        torch_models.set_tensor(primary, "x", 9)
        wait_until(lambda: replica.exists("s", "x") == 2, 10.0, "the replica has the script and its input")
        words = "LOAD 1 x |> AI.SCRIPTRUN s {} INPUTS x OUTPUTS y |> AI.TENSORGET y VALUES"
        assert _dag(replica, words.format("same"), "AI.DAGRUN_RO") == [b"OK", [b"9"]]
        refused, missing = _dag(replica, words.format("writes"), "AI.DAGRUN_RO")
        assert "Write command 'set' was called" in str(refused) and missing == b"NA"
        assert not replica.exists("k")


def test_the_keys_of_a_dag_are_in_one_slot(cluster: Cluster) -> None:
    """Also those of the models and scripts in it, which the shard would else look for in vain."""
    tag = "{" + cluster.shards[0].hash_tag + "}"
    words = {"load": "x", "persist": "y", "routing": "r", "model": "m", "script": "s", "key": "k"}
    dag = (
        "LOAD 1 {load} PERSIST 1 {persist} ROUTING {routing}"
        " |> AI.MODELEXECUTE {model} INPUTS 1 {load} OUTPUTS 1 a"
        " |> AI.SCRIPTEXECUTE {script} f KEYS 1 {key} INPUTS 1 a OUTPUTS 1 {persist}"
    )
    with contextlib.closing(cluster.masters[0].client()) as client:
        for stranger in words:
            keys = {name: word + tag * (name != stranger) for name, word in words.items()}
            with pytest.raises(redis.ResponseError, match="hash to the same slot"):
                _dag(client, dag.format(**keys))
        with pytest.raises(redis.ResponseError, match="tensor key is empty"):
            _dag(client, dag.format(**{name: word + tag for name, word in words.items()}))


# ---- models ----


def test_branches_meet_again(doubler: redis.Redis) -> None:
    torch_models.store(doubler, "sum", torch_models.sum_and_product())
    reply = _dag(
        doubler,
        "LOAD 1 x PERSIST 2 s p |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 a"
        " |> AI.TENSORSET one FLOAT 1 VALUES 1 |> AI.MODELEXECUTE sum INPUTS 2 x one OUTPUTS 2 b unused"
        " |> AI.MODELEXECUTE sum INPUTS 2 a b OUTPUTS 2 s p"
        " |> AI.TENSORGET a VALUES |> AI.TENSORGET b VALUES",
    )
    assert reply == [b"OK", b"OK", b"OK", b"OK", [b"2", b"4"], [b"2", b"3"]]
    assert torch_models.get_tensor(doubler, "s") == [b"4", b"7"]
    assert torch_models.get_tensor(doubler, "p") == [b"4", b"12"]
    assert doubler.exists("a", "b", "unused") == 0


def test_each_step_reads_the_output_that_was_there_before_it(doubler: redis.Redis) -> None:
    step = "|> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 x |> AI.TENSORGET x VALUES "
    reply = _dag(doubler, "LOAD 1 x " + 3 * step)
    assert reply == [b"OK", [b"2", b"4"], b"OK", [b"4", b"8"], b"OK", [b"8", b"16"]]
    assert _counters(doubler, "m") == {"calls": 3, "errors": 0, "samples": 6}


def test_what_needs_nothing_of_what_failed_is_answered(doubler: redis.Redis) -> None:
    torch_models.store(doubler, "half", torch_models.half())
    reply = _dag(
        doubler,
        "LOAD 1 x PERSIST 2 y z |> AI.MODELEXECUTE half INPUTS 1 x OUTPUTS 1 h |> AI.TENSORGET h VALUES"
        " |> AI.MODELEXECUTE m INPUTS 1 h OUTPUTS 1 y |> AI.TENSORGET y META"
        " |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 z |> AI.TENSORGET z VALUES",
    )
    assert "float16" in str(reply[0])
    assert reply[1:] == [b"NA", b"NA", b"NA", b"OK", [b"2", b"4"]]
    assert doubler.exists("y", "z") == 0
    assert _counters(doubler, "m")["calls"] == 1


def test_keys_may_change_while_a_dag_runs(doubler: redis.Redis, other: redis.Redis) -> None:
    torch_models.store(doubler, "slow", torch_models.slow())
    torch_models.set_tensor(doubler, "n", 20_000.0)
    words = (
        "LOAD 2 n x PERSIST 2 z y |> AI.MODELEXECUTE slow INPUTS 1 n OUTPUTS 1 z"
        " |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y |> AI.TENSORGET x VALUES"
    )
    with models_worker_held(other) as go_on, sent(doubler, "AI.DAGEXECUTE", *words.split()) as connection:
        wait_until_running(other, 1)
        other.flushall()
        go_on()
        assert connection.read_response() == [b"OK", b"OK", [b"1", b"2"]]
    assert torch_models.get_tensor(other, "z") == [b"20000"]
    assert torch_models.get_tensor(other, "y") == [b"2", b"4"]


def test_too_late_is_an_answer_to_one_who_said_timeout(doubler: redis.Redis) -> None:
    torch_models.store(doubler, "slow", torch_models.slow())
    torch_models.set_tensor(doubler, "n", 100_000.0)
    words = "PERSIST 2 z a |> AI.MODELEXECUTE slow INPUTS 1 n OUTPUTS 1 z |> AI.TENSORSET a FLOAT 1"
    assert _dag(doubler, f"LOAD 1 n TIMEOUT 10 {words}") == b"TIMEDOUT"
    doubler.config_set("keymiss.job-timeout-ms", 100)
    with pytest.raises(redis.ResponseError, match="no answer within 100 ms"):
        _dag(doubler, f"LOAD 1 n {words}")
    assert doubler.exists("z", "a") == 0


def test_a_client_that_leaves_gets_nothing_stored(doubler: redis.Redis, other: redis.Redis) -> None:
    torch_models.store(doubler, "slow", torch_models.slow())
    torch_models.set_tensor(doubler, "n", 50_000.0)
    words = "LOAD 1 n PERSIST 1 z |> AI.MODELEXECUTE slow INPUTS 1 n OUTPUTS 1 z"
    with models_worker_held(other), sent(doubler, "AI.DAGEXECUTE", *words.split()) as connection:
        wait_until_running(other, 1)
        connection.disconnect()
    wait_until_running(other, 0)
    assert not other.exists("z")


def test_only_models_are_run_again_when_the_worker_dies(doubler: redis.Redis, other: redis.Redis) -> None:
    """A script may have written something before."""
    torch_models.store(doubler, "slow", torch_models.slow())
    torch_scripts.store(doubler, "s", "f", "return tensors[0]")
    torch_models.set_tensor(doubler, "n", 20_000.0)
    models = "LOAD 1 n PERSIST 1 z |> AI.MODELEXECUTE slow INPUTS 1 n OUTPUTS 1 z"
    script = f"{models} |> AI.SCRIPTEXECUTE s f INPUTS 1 z OUTPUTS 1 y"
    with (
        models_worker_held(other),
        sent(doubler, "AI.DAGEXECUTE", *models.split()) as one,
        sent(doubler, "AI.DAGEXECUTE", *script.split()) as two,
    ):
        wait_until_running(other, 2)
        os.kill(other.info("keymiss")["keymiss_models_worker"]["pid"], signal.SIGKILL)
        assert one.read_response() == [b"OK"]
        with pytest.raises(redis.ResponseError, match="the models worker died while it ran this"):
            two.read_response()
    assert torch_models.get_tensor(other, "z") == [b"20000"]


def test_a_function_runs_a_dag_with_execute(doubler: redis.Redis) -> None:
    words = "LOAD 1 x PERSIST 1 y |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y |> AI.TENSORGET y VALUES"
    script = (
        f"def run(record):\n    return execute('AI.DAGEXECUTE', *{words.split()!r})\n"
        "GB('CommandReader').map(run).register(trigger='run', mode='async_local')\n"
    )
    assert doubler.execute_command("RG.PYEXECUTE", script) == b"OK"
    (answer,) = doubler.execute_command("RG.TRIGGER", "run")
    assert "OK" in answer.decode() and "'4'" in answer.decode()
    assert torch_models.get_tensor(doubler, "y") == [b"2", b"4"]


def _counters(client: redis.Redis, key: str) -> dict[str, int]:
    info = run_info(client, key)
    return {name: info[name.encode()] for name in ("calls", "errors", "samples")}
