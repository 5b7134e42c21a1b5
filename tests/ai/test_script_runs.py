"""AI.SCRIPTEXECUTE and AI.SCRIPTRUN: one answer each, with the rights and in the database of who asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import redis
from support import torch_models, torch_scripts
from support.processes import peak_bytes
from support.running import models_worker_held, sent, wait_until_running
from support.server import Server
from support.torch_scripts import execute
from support.waiting import wait_until


@pytest.fixture
def script(client: redis.Redis) -> redis.Redis:
    """A client whose server has the script `s`, with `f` that gives its first input, and the tensor `x`."""
    torch_scripts.store(client, "s", "f", "return tensors[0]")
    torch_models.set_tensor(client, "x", 1.0, 2.0)
    return client


def test_a_script_without_anything_behind_its_function_is_told_what_is_missing(script: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="KEYS or INPUTS scope must be provided first"):
        execute(script, "s f")


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ("tensors[0].half()", "float16"),
        ("[tensors[0]] * 500", "unexpected number of outputs - g"),
        ("[tensors[0]] * 3", "unexpected number of outputs - g"),
    ],
)
def test_a_result_that_no_output_takes_is_one_error(script: redis.Redis, result: str, error: str) -> None:
    torch_scripts.store(script, "t", "g", f"return {result}")
    with pytest.raises(redis.ResponseError, match=error):
        execute(script, "t g INPUTS 1 x OUTPUTS 1 y")
    words = "LOAD 1 x PERSIST 1 y |> AI.SCRIPTEXECUTE t g INPUTS 1 x OUTPUTS 1 y |> AI.TENSORGET y VALUES"
    failed, missing = script.execute_command("AI.DAGEXECUTE", *words.split())
    assert error in str(failed) and missing == b"NA"
    assert script.echo("in step") == b"in step"
    assert not script.exists("y")


def test_inputs_that_fit_no_frame_are_not_copied_to_be_refused(
    make_server: Callable[..., Server], host_models: dict[str, object]
) -> None:
    server = make_server(settings={"keymiss.max-frame-bytes": 1 << 20, **host_models})
    with contextlib.closing(server.client()) as client:
        torch_scripts.store(client, "s", "f", "return tensors[0]")
        client.execute_command("AI.TENSORSET", "large", "INT8", 16 << 20)
        before = peak_bytes(server.pid)
        with pytest.raises(redis.ResponseError, match=r"larger than keymiss\.max-frame-bytes"):
            execute(client, f"s f INPUTS 40 {'large ' * 40} OUTPUTS 1 y")
        assert peak_bytes(server.pid) - before < 200 << 20


@pytest.mark.parametrize("output", ["text", "s", "m"])
def test_an_output_over_something_else_gets_one_error(script: redis.Redis, output: str) -> None:
    torch_models.store(script, "m", torch_models.doubler())
    script.set("text", "kept")
    kind = script.type(output)
    for command in (
        f"AI.SCRIPTEXECUTE s f INPUTS 1 x OUTPUTS 1 {output}",
        f"AI.SCRIPTRUN s f INPUTS x OUTPUTS {output}",
    ):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            script.execute_command(*command.split())
        assert script.echo("in step") == b"in step"
    assert script.type(output) == kind


def test_outputs_and_commands_are_in_the_database_of_the_client(server: Server, client: redis.Redis) -> None:
    with contextlib.closing(server.client(db=3)) as elsewhere:
        torch_scripts.store(elsewhere, "s", "f", "redis.execute('SET', keys[0], 'v')", "return tensors[0]")
        torch_models.set_tensor(elsewhere, "x", 2.0)
        assert execute(elsewhere, "s f KEYS 1 k INPUTS 1 x OUTPUTS 1 y") == b"OK"
        assert elsewhere.get("k") == b"v"
        assert torch_models.get_tensor(elsewhere, "y") == [b"2"]
    assert client.dbsize() == 0


@pytest.mark.parametrize("words", ["AI.SCRIPTEXECUTE {}", "AI.DAGEXECUTE LOAD 1 x |> AI.SCRIPTEXECUTE {}"])
def test_a_script_may_do_what_its_user_may(server: Server, client: redis.Redis, words: str) -> None:
    torch_scripts.store(client, "s", "f", "redis.execute('SET', args[0], 'v')", "return tensors[0]")
    torch_models.set_tensor(client, "x", 1.0)
    client.execute_command(
        "ACL", "SETUSER", "someone", "reset", "on", ">secret", "+@all", "~s", "~x", "~mine:*"
    )
    try:
        with contextlib.closing(server.client(username="someone", password="secret")) as someone:
            for key, allowed in (("mine:k", True), ("others", False)):
                command = words.format(f"s f INPUTS 1 x ARGS 1 {key} OUTPUTS 1 mine:y").split()
                try:
                    reply = someone.execute_command(*command)
                    error = reply[0] if isinstance(reply, list) and isinstance(reply[0], Exception) else None
                except redis.ResponseError as raised:
                    error = raised
                assert (error is None) == allowed and bool(client.exists(key)) == allowed, (key, error)
    finally:
        client.acl_deluser("someone")


def test_the_server_learns_every_key(client: redis.Redis) -> None:
    for words, keys in [
        ("AI.SCRIPTEXECUTE s f KEYS 2 k l INPUTS 1 a ARGS 1 z OUTPUTS 2 b c TIMEOUT 5", "s k l a b c"),
        ("AI.SCRIPTEXECUTE s f INPUTS 1 a OUTPUTS 9 b", "s a"),
        ("AI.SCRIPTRUN s f TIMEOUT 5 INPUTS a $ b OUTPUTS c", "s a b c"),
        ("AI.SCRIPTRUN s f OUTPUTS c", "s c"),
    ]:
        assert client.execute_command("COMMAND GETKEYS", *words.split()) == keys.split(), words
    with pytest.raises(redis.ResponseError):
        client.execute_command("COMMAND GETKEYS", "AI.SCRIPTEXECUTE", "s")


def test_a_list_of_tensors_stands_behind_the_dollar(client: redis.Redis) -> None:
    text = "def f(a, rest: List[Tensor]):\n    return a, torch.stack(rest)\n"
    client.execute_command("AI.SCRIPTSET", "s", "CPU", "SOURCE", text)
    for key, value in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        torch_models.set_tensor(client, key, value)
    client.execute_command("AI.SCRIPTRUN", "s", "f", "INPUTS", "a", "$", "b", "c", "OUTPUTS", "y", "z")
    assert torch_models.get_tensor(client, "y") == [b"1"]
    assert torch_models.get_tensor(client, "z") == [b"2", b"3"]
    words = "LOAD 2 a b |> AI.SCRIPTRUN s f INPUTS b $ a a OUTPUTS y z |> AI.TENSORGET z VALUES"
    assert client.execute_command("AI.DAGRUN", *words.split()) == [b"OK", [b"1", b"1"]]


def test_keys_may_go_while_a_script_runs(script: redis.Redis, other: redis.Redis) -> None:
    torch_scripts.store(
        script,
        "slow",
        "f",
        "y = torch.zeros([1])",
        "for _ in range(20000):",
        "    y = torch.sin(y + 1.0)",
        "return tensors[0]",
    )
    with (
        models_worker_held(other) as go_on,
        sent(script, "AI.SCRIPTEXECUTE", "slow", "f", "INPUTS", 1, "x", "OUTPUTS", 1, "y") as connection,
    ):
        wait_until_running(other, 1)
        other.flushall()
        go_on()
        assert connection.read_response() == b"OK"
    assert torch_models.get_tensor(other, "y") == [b"1", b"2"]


def test_too_late_is_an_answer_to_one_who_said_timeout(script: redis.Redis) -> None:
    torch_models.store(script, "slow", torch_models.slow())
    torch_models.set_tensor(script, "n", 100_000.0)
    torch_scripts.store(script, "t", "g", "return redisAI.model_execute(keys[0], tensors, 1)")
    assert execute(script, "t g KEYS 1 slow INPUTS 1 n OUTPUTS 1 y TIMEOUT 10") == b"TIMEDOUT"
    assert not script.exists("y")


@pytest.mark.parametrize("leaves", [False, True], ids=["too late", "gone"])
def test_a_loop_without_end_holds_up_nobody_once_its_client_does_not_wait(
    script: redis.Redis, other: redis.Redis, leaves: bool
) -> None:
    body = ("x = tensors[0]", "while bool(x.sum() > 0):", "    x = x + 1", "return x")
    torch_scripts.store(script, "t", "loop", *body)
    torch_models.store(script, "m", torch_models.doubler())
    assert torch_models.execute(script, "m", "x", "y") == b"OK"
    worker = script.info("keymiss")["keymiss_models_worker"]["pid"]
    if leaves:
        words = "t loop INPUTS 1 x OUTPUTS 1 never"
        with sent(other, "AI.SCRIPTEXECUTE", *words.split()) as connection:
            wait_until_running(script, 1)
            connection.disconnect()
    else:
        assert execute(other, "t loop INPUTS 1 x OUTPUTS 1 never TIMEOUT 300") == b"TIMEDOUT"
    # Well before the 30 seconds after which a worker that has lost its device ends.
    run = "AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y TIMEOUT 10000"
    assert script.execute_command(*run.split()) == b"OK"
    assert execute(script, "s f INPUTS 1 x OUTPUTS 1 z") == b"OK"
    assert script.info("keymiss")["keymiss_models_worker"]["pid"] == worker
    text = torch_scripts.source("loop", *body).encode()
    assert script.execute_command("AI.SCRIPTGET", "t", "SOURCE") == text
    assert not script.exists("never")


def test_a_replica_hears_of_outputs_and_of_what_a_script_wrote(replicated: tuple[Server, Server]) -> None:
    with (
        contextlib.closing(replicated[0].client()) as primary,
        contextlib.closing(replicated[1].client()) as replica,
    ):
        torch_scripts.store(primary, "s", "f", "redis.execute('SET', keys[0], 'v')", "return tensors[0]")
        torch_models.set_tensor(primary, "x", 1.0)
        assert execute(primary, "s f KEYS 1 k INPUTS 1 x OUTPUTS 1 y") == b"OK"
        wait_until(lambda: replica.exists("k", "y") == 2, 10.0, "the replica has both")
        assert replica.get("k") == b"v" and torch_models.get_tensor(replica, "y") == [b"1"]
        with pytest.raises(redis.exceptions.ReadOnlyError):
            execute(replica, "s f KEYS 1 k INPUTS 1 x OUTPUTS 1 y")


def test_a_function_runs_a_script_with_execute(script: redis.Redis) -> None:
    function = (
        "def run(record):\n"
        "    return execute('AI.SCRIPTEXECUTE', 's', 'f', 'INPUTS', 1, 'x', 'OUTPUTS', 1, 'y')\n"
        "GB('CommandReader').map(run).register(trigger='run', mode='async_local')\n"
    )
    assert script.execute_command("RG.PYEXECUTE", function) == b"OK"
    assert script.execute_command("RG.TRIGGER", "run") == [b"OK"]
    assert torch_models.get_tensor(script, "y") == [b"1", b"2"]
