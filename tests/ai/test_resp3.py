"""After HELLO 3 every AI.* command answers as before, but for values of floating point, which are doubles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError
from support import torch_models, torch_scripts
from support.server import Server

COMMANDS = [
    "AI.TENSORSET t FLOAT 2 VALUES 1 2.5",
    "AI.TENSORSET t FLOAT 2 VALUES 1",
    "AI.TENSORGET x",
    "AI.TENSORGET x META",
    "AI.TENSORGET x META BLOB",
    "AI.TENSORGET x META VALUES",
    "AI.TENSORGET flags VALUES",
    "AI.TENSORGET nokey",
    "AI.MODELGET m",
    "AI.MODELGET m META",
    "AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y",
    "AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 2 y z",
    "AI.MODELRUN m INPUTS x OUTPUTS y",
    "AI._MODELSCAN",
    "AI.SCRIPTGET s",
    "AI.SCRIPTEXECUTE s f INPUTS 1 x OUTPUTS 1 y",
    "AI.SCRIPTEXECUTE s nofn INPUTS 1 x OUTPUTS 1 y",
    "AI._SCRIPTSCAN",
    "AI.DAGEXECUTE LOAD 1 x PERSIST 1 y |> AI.MODELEXECUTE m INPUTS 1 x OUTPUTS 1 y "
    "|> AI.TENSORGET y |> AI.TENSORGET y META BLOB |> AI.TENSORGET y VALUES",
    "AI.DAGEXECUTE_RO LOAD 1 x |> AI.TENSORGET x META",
    "AI.DAGRUN |> AI.TENSORSET a INT8 2 VALUES 1 2 |> AI.TENSORGET a VALUES",
    "AI.DAGEXECUTE LOAD 1 x |> AI.SCRIPTEXECUTE s nofn INPUTS 1 x OUTPUTS 1 y |> AI.TENSORGET y",
    "AI.INFO",
    "AI.INFO m RESETSTAT",
    "AI.INFO nokey",
    "AI.CONFIG GET MODEL_CHUNK_SIZE",
    "AI.CONFIG GET NO_SUCH",
    "AI.MODELDEL nokey",
    "AI.SCRIPTDEL nokey",
]


@pytest.fixture
def in_resp3(server: Server) -> Iterator[redis.Redis]:
    with contextlib.closing(server.client(protocol=3)) as connected:
        yield connected


def _answer(client: redis.Redis, command: str) -> Any:
    """The reply; errors as tuples, inside of arrays too."""

    def plain(reply: Any) -> Any:
        if isinstance(reply, ResponseError):
            return "error", str(reply)
        return [plain(item) for item in reply] if isinstance(reply, list) else reply

    try:
        return plain(client.execute_command(*command.split()))
    except ResponseError as error:
        return plain(error)


def _doubles_as_texts(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_doubles_as_texts(item) for item in reply]
    return b"%g" % reply if isinstance(reply, float) else reply


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reply_is_the_same_in_both_protocols(
    client: redis.Redis, in_resp3: redis.Redis, command: str
) -> None:
    torch_models.store(client, "m", torch_models.doubler())
    torch_scripts.store(client, "s", "f", "return tensors[0]")
    torch_models.set_tensor(client, "x", 1, 2.5)
    client.execute_command("AI.TENSORSET", "flags", "BOOL", 2, "VALUES", 1, 0)
    expected = _answer(client, command)
    assert _doubles_as_texts(_answer(in_resp3, command)) == expected
    if command.startswith("AI.CONFIG GET NO_SUCH"):
        assert expected is None


def test_a_request_that_waits_is_answered_in_the_protocol_of_its_connection(
    client: redis.Redis, in_resp3: redis.Redis
) -> None:
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1)
    with in_resp3.pipeline(transaction=False) as pipe:
        for _ in range(3):
            pipe.execute_command("AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "x")
        pipe.execute_command("AI.TENSORGET", "x", "VALUES")
        pipe.hgetall("nokey")
        assert pipe.execute() == [b"OK"] * 3 + [[8.0], {}]
