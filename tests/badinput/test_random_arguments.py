"""Every command of the module with arguments put together at random, from fixed seeds.

Each call starts as a right one and is then damaged: arguments dropped, doubled, swapped, or replaced by
others that have broken parsers before. Any reply will do, as long as there is exactly one, the server stays
up and its memory stays where it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import redis
from support import torch_models, torch_scripts
from support.server import Server

CALLS = 150
MEMORY_GROWTH_BYTES = 256 * 2**20

Argument = str | bytes | int
Call = list[Argument]

NASTY: list[Argument] = [
    "", "0", "-1", "1", "2", "1000000000", "2147483648", "4294967296", "9223372036854775807",
    "-9223372036854775808", "18446744073709551616", "99999999999999999999999", "1e400", "nan", "inf",
    "-0", "+1", " 1", "1 ", "0x10", "1.5", b"\x00", b"\xff" * 9, b"a\x00b", "\r\n", "$-1\r\n", "*" * 100,
    "x" * 10_000, "%s%n%d", "{", "{}", "é",
    "FLOAT", "double", "INT8", "STRING", "BOOL", "BLOB", "VALUES", "META", "INPUTS", "OUTPUTS", "TIMEOUT",
    "TAG", "BATCHSIZE", "MINBATCHSIZE", "MINBATCHTIMEOUT", "TORCH", "ONNX", "TF", "TFLITE", "CPU", "GPU:0",
    "CPU:99", "KEYS", "ARGS", "LOAD", "PERSIST", "ROUTING", "|>", "$", "AI.TENSORSET", "AI.TENSORGET",
    "AI.MODELEXECUTE", "AI.SCRIPTEXECUTE", "AI.SCRIPTRUN", "script",
    "RESETSTAT", "UNBLOCKING", "REQUIREMENTS", "ID", "UPGRADE", "DESCRIPTION",
    "tensor", "model", "string", "missing", "list", "hash",
]  # fmt: skip


def _right_calls(rng: random.Random) -> list[Call]:
    """One right call of each shape that the commands take."""
    return [
        ["AI.TENSORSET", "t", rng.choice(["FLOAT", "INT64", "UINT8"]), 2, "VALUES", 1, 2],
        ["AI.TENSORSET", "t", "FLOAT", 1, 2, "BLOB", b"\x00" * 8],
        ["AI.TENSORSET", "t", "STRING", 2, "VALUES", "a", "b"],
        ["AI.TENSORSET", "t", "STRING", 2, "BLOB", b"a\x00b\x00"],
        ["AI.TENSORGET", "tensor", rng.choice(["META", "BLOB", "VALUES"])],
        [
            "AI.MODELSTORE",
            "m",
            "TORCH",
            "CPU",
            "TAG",
            "v1",
            "BATCHSIZE",
            4,
            "MINBATCHSIZE",
            2,
            "BLOB",
            b"PK\x03\x04",
        ],
        ["AI.MODELSTORE", "m", "ONNX", "CPU", "INPUTS", 1, "a", "OUTPUTS", 1, "b", "BLOB", b"\x08\x07"],
        ["AI.MODELSET", "m", "TORCH", "CPU", "BLOB", torch_models.doubler()[: rng.randrange(2000)]],
        ["AI.MODELGET", "model", "META"],
        ["AI.MODELDEL", "m"],
        ["AI.MODELEXECUTE", "model", "INPUTS", 1, "tensor", "OUTPUTS", 1, "out", "TIMEOUT", 1000],
        ["AI.MODELRUN", "model", "TIMEOUT", 1000, "INPUTS", "tensor", "OUTPUTS", "out"],
        ["AI.INFO", "model", "RESETSTAT"],
        *_calls_of_scripts_and_dags(),
        ["RG.PYEXECUTE", "GB('PythonReader').run(lambda: (yield 1))", "UNBLOCKING"],
        ["RG.PYEXECUTE", "1", "ID", "name", "DESCRIPTION", "text", "REQUIREMENTS"],
        ["RG.UNREGISTER", "0000000000000000000000000000000000000000-1"],
        ["RG.DUMPREGISTRATIONS"],
        ["RG.PYSTATS"],
    ]


def _calls_of_scripts_and_dags() -> list[Call]:
    run: Call = [
        "AI.SCRIPTEXECUTE",
        "script",
        "f",
        "KEYS",
        1,
        "k",
        "INPUTS",
        1,
        "tensor",
        "ARGS",
        1,
        "v",
        "OUTPUTS",
        1,
        "out",
    ]
    old: Call = ["AI.SCRIPTRUN", "script", "f", "INPUTS", "tensor", "$", "tensor", "OUTPUTS", "out"]
    model: Call = ["AI.MODELEXECUTE", "model", "INPUTS", 1, "tensor", "OUTPUTS", 1, "b"]
    made: Call = ["AI.TENSORSET", "a", "FLOAT", 2, "VALUES", 1, 2]
    got: Call = ["AI.TENSORGET", "b", "META", "VALUES"]
    head: Call = ["LOAD", 1, "tensor", "PERSIST", 2, "a", "b", "ROUTING", "k", "TIMEOUT", 1000]
    read: Call = ["LOAD", 1, "tensor", "|>", *model, "|>", *got]
    return [
        [*run, "TIMEOUT", 1000],
        old,
        ["AI.DAGEXECUTE", *head, "|>", *made, "|>", *model, "|>", *run, "|>", *got],
        ["AI.DAGEXECUTE_RO", *read],
        [
            "AI.DAGRUN",
            "LOAD",
            1,
            "tensor",
            "|>",
            *old,
            "|>",
            "AI.MODELRUN",
            "model",
            "INPUTS",
            "out",
            "OUTPUTS",
            "b",
        ],
        ["AI.DAGRUN_RO", "|>", *made, "|>", "AI.TENSORGET", "a"],
        ["COMMAND GETKEYS", "AI.DAGEXECUTE", *head, "|>", *made, "|>", *run],
        ["COMMAND GETKEYS", *run],
        ["COMMAND GETKEYS", *old],
    ]


def _drop(rng: random.Random, call: Call) -> None:
    del call[rng.randrange(1, len(call))]


def _double(rng: random.Random, call: Call) -> None:
    at = rng.randrange(1, len(call))
    call.insert(at, call[at])


def _swap(rng: random.Random, call: Call) -> None:
    a, b = rng.randrange(1, len(call)), rng.randrange(1, len(call))
    call[a], call[b] = call[b], call[a]


def _replace(rng: random.Random, call: Call) -> None:
    call[rng.randrange(1, len(call))] = rng.choice(NASTY)


def _insert(rng: random.Random, call: Call) -> None:
    call.insert(rng.randrange(1, len(call) + 1), rng.choice(NASTY))


def _cut(rng: random.Random, call: Call) -> None:
    del call[rng.randrange(1, len(call)) :]


DAMAGES: list[Callable[[random.Random, Call], None]] = [
    _drop,
    _double,
    _swap,
    _replace,
    _replace,
    _insert,
    _cut,
]


def _damaged(rng: random.Random) -> Call:
    call = rng.choice(_right_calls(rng))
    for _ in range(rng.randint(1, 3)):
        if len(call) > 1:
            rng.choice(DAMAGES)(rng, call)
    return call


@pytest.mark.parametrize("seed", range(8))
def test_each_gets_one_reply_and_the_server_keeps_its_memory(server: Server, seed: int) -> None:
    rng = random.Random(seed)
    with server.client(socket_timeout=60.0) as client:
        client.mset({"string": "x"})
        client.rpush("list", "x")
        client.hset("hash", "field", "x")
        torch_models.store(client, "model", torch_models.doubler())
        torch_scripts.store(client, "script", "f", "return tensors")
        torch_models.set_tensor(client, "tensor", 1.0, 2.0)
        before = client.info("memory")["used_memory"]
        for n in range(CALLS):
            call = _damaged(rng)
            try:
                client.execute_command(*call)
            except redis.ResponseError:
                pass
            except (redis.ConnectionError, redis.TimeoutError) as error:
                raise AssertionError(f"seed {seed}, call {n}: {_shown(call)}: {error!r}") from error
            assert client.echo(str(n)) == str(n).encode(), (
                f"out of step after seed {seed}, call {n}: {_shown(call)}"
            )
        client.flushall()
        assert client.info("memory")["used_memory"] - before < MEMORY_GROWTH_BYTES


def _shown(call: Call) -> str:
    return " ".join(repr(part)[:60] for part in call)
