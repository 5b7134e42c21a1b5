"""What brought RedisAI down, hung it, or was nonsense that it took, in scripts and DAGs, gets one answer.

The numbers are those of `original_crashes.md`, beside the recordings; those of tensors and models alone are
in `test_crashes_of_redisai.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis
from support import torch_models, torch_scripts
from support.torch_scripts import execute

RUN = "s f INPUTS 1 x OUTPUTS 1 y"


@pytest.fixture
def client(client: redis.Redis) -> Iterator[redis.Redis]:
    """A client of a server with the tensor `x`; at the end it is still in step."""
    torch_models.set_tensor(client, "x", 1.0, 2.0, 3.0)
    yield client
    assert client.echo("in step") == b"in step"


def _dag(client: redis.Redis, words: str) -> list[object]:
    """The reply of AI.DAGEXECUTE, errors in it as text."""
    reply = client.execute_command("AI.DAGEXECUTE", *words.split())
    return [str(part) if isinstance(part, Exception) else part for part in reply]


@pytest.mark.parametrize("command", ["AI.MODELSTORE", "AI.MODELSET"])
def test_1_and_2_a_model_over_a_script_is_refused(client: redis.Redis, command: str) -> None:
    torch_scripts.store(client, "s", "f", "return tensors[0]")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.execute_command(command, "s", "TORCH", "CPU", "BLOB", torch_models.doubler())
    assert client.type("s") == b"AI_SCRIPT"


def test_3_a_function_with_nothing_behind_it_is_refused(client: redis.Redis) -> None:
    torch_scripts.store(client, "s", "f", "return tensors[0]")
    for words in ("s f", "s", ""):
        with pytest.raises(redis.ResponseError):
            execute(client, words)
        with pytest.raises(redis.ResponseError):
            _dag(client, f"ROUTING s |> AI.SCRIPTEXECUTE {words}")


def test_7_and_13_a_float16_result_is_an_error_wherever_it_appears(client: redis.Redis) -> None:
    torch_models.store(client, "half", torch_models.half())
    torch_scripts.store(client, "s", "f", "return tensors[0].half()")
    with pytest.raises(redis.ResponseError, match="float16"):
        execute(client, RUN)
    for step in ("AI.MODELEXECUTE half", "AI.SCRIPTEXECUTE s f"):
        for form in ("META", "BLOB", "VALUES"):
            run = f"|> {step} INPUTS 1 x OUTPUTS 1 y |> AI.TENSORGET y {form}"
            for failed, read in (
                _dag(client, f"LOAD 1 x {run}"),
                _dag(client, f"LOAD 1 x PERSIST 1 y {run}"),
            ):
                assert "float16" in str(failed)
                assert read == b"NA"
    assert not client.exists("y")


@pytest.mark.parametrize(
    "result",
    ["[tensors[0]] * 500", "[tensors[0]] * 3", f"({'tensors[0], ' * 300})", "[tensors[0]] * 1000000"],
)
def test_8_more_results_than_outputs_are_one_error(client: redis.Redis, result: str) -> None:
    torch_scripts.store(client, "s", "f", f"return {result}")
    with pytest.raises(redis.ResponseError):
        execute(client, RUN)
    failed, read = _dag(client, f"LOAD 1 x |> AI.SCRIPTEXECUTE {RUN} |> AI.TENSORGET y VALUES")
    assert isinstance(failed, str) and read == b"NA"
    assert not client.exists("y")


COMMANDS_THAT_WAIT = {
    "a model": "'AI.MODELEXECUTE', 'm', 'INPUTS', '1', 'x', 'OUTPUTS', '1', 'y'",
    "a script": "'AI.SCRIPTEXECUTE', 's', 'f', 'INPUTS', '1', 'x', 'OUTPUTS', '1', 'y'",
    "a dag": "'AI.DAGEXECUTE', 'LOAD', '1', 'x', '|>', 'AI.TENSORGET', 'x', 'VALUES'",
    "replicas": "'WAIT', '1', '100'",
    "a list": "'BLPOP', 'list', '0'",
    "a function": "'RG.PYEXECUTE', 'GB().run()'",
}


@pytest.mark.parametrize("command", COMMANDS_THAT_WAIT.values(), ids=COMMANDS_THAT_WAIT)
def test_9_a_command_that_waits_does_not_in_a_script(client: redis.Redis, command: str) -> None:
    """Answered at once or refused; the script's deadline is far away."""
    torch_models.store(client, "m", torch_models.doubler())
    torch_scripts.store(client, "s", "f", f"redis.execute({command})", "return tensors[0]")
    with contextlib.suppress(redis.ResponseError):
        execute(client, f"{RUN} TIMEOUT 5000")
    with contextlib.closing(redis.Redis(connection_pool=client.connection_pool)) as again:
        assert again.ping()


def test_11_a_damaged_payload_of_a_script_is_refused_or_gives_a_whole_script(client: redis.Redis) -> None:
    torch_scripts.store(client, "s", "f", "return tensors[0]")
    payload = client.dump("s")
    assert isinstance(payload, bytes)
    body, tail = payload[:-10], payload[-10:]  # the version and the checksum
    client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
    try:
        for at in range(len(body)):
            flipped = body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :]
            for damaged in (flipped, body[:at] + body[at + 1 :], body[:at]):
                with contextlib.suppress(redis.ResponseError):
                    client.restore("d", 0, damaged + tail, replace=True)
                    if client.type("d") == b"AI_SCRIPT":
                        assert len(client.execute_command("AI.SCRIPTGET", "d")) == 8
                        with contextlib.suppress(redis.ResponseError):
                            execute(client, "d f INPUTS 1 x OUTPUTS 1 y")
    finally:
        client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 0)


@pytest.mark.parametrize("output", ["text", "m", "s"])
def test_15_an_output_over_something_else_is_one_error(client: redis.Redis, output: str) -> None:
    torch_models.store(client, "m", torch_models.doubler())
    torch_scripts.store(client, "s", "f", "return [tensors[0], tensors[0]]")
    client.set("text", "kept")
    before = client.dump(output)
    for command in ("AI.SCRIPTEXECUTE s f INPUTS 1 x OUTPUTS 2 y", "AI.SCRIPTRUN s f INPUTS x OUTPUTS y"):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            client.execute_command(*command.split(), output)
        assert client.echo("in step") == b"in step"
    assert client.dump(output) == before


def test_16_persisting_over_something_else_is_an_error_and_persists_nothing(client: redis.Redis) -> None:
    client.set("text", "kept")
    reply = _dag(client, "LOAD 1 x PERSIST 2 text y |> AI.TENSORSET text INT8 1 |> AI.TENSORSET y INT8 1")
    assert [part for part in reply if str(part).startswith("WRONGTYPE")]
    assert client.get("text") == b"kept"
    assert not client.exists("y")


def test_21_a_damaged_type_code_gives_no_tensor_that_cannot_be_read(client: redis.Redis) -> None:
    client.execute_command("AI.TENSORSET", "t", "INT16", 2, "VALUES", 1, 2)
    payload = client.dump("t")
    assert isinstance(payload, bytes)
    client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
    try:
        for at in range(10, len(payload) - 10):  # behind the type of the value, before version and checksum
            for code in range(0, 256, 5):
                with contextlib.suppress(redis.ResponseError):
                    client.restore("d", 0, payload[:at] + bytes([code]) + payload[at + 1 :], replace=True)
                    read = client.execute_command("AI.TENSORGET", "d", "META", "VALUES")
                    assert len(read) == 6
    finally:
        client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 0)


def test_22_a_script_sees_a_value_with_nul_bytes_whole(client: redis.Redis) -> None:
    client.set("binary", b"a\x00b\xff\x00")
    torch_scripts.store(
        client,
        "s",
        "f",
        "value = redis.execute('GET', keys[0])",
        "codes: List[int] = []",
        "if isinstance(value, str):",
        "    for letter in value:",
        "        codes.append(ord(letter))",
        "return torch.tensor(codes)",
    )
    assert execute(client, "s f KEYS 1 binary OUTPUTS 1 y") == b"OK"
    assert client.execute_command("AI.TENSORGET", "y", "VALUES") == [97, 0, 98, 255, 0]
