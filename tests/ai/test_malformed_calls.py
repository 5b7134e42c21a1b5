"""AI.* commands called wrongly in a known way: one error each, nothing stored, and the server goes on."""

from __future__ import annotations

import pytest
import redis
from support import torch_models

Call = tuple[object, ...]
BLOB = b"\x00\xffblob\r\n"
MAX = 2**63 - 1

TENSORSET: list[Call] = [
    (),
    ("k",),
    ("k", "FLOAT"),
    ("k", "FLOAT", 0),
    ("k", "FLOAT", -1),
    ("k", "FLOAT", "1.0"),
    ("k", "FLOAT", "01"),
    ("k", "FLOAT", " 1"),
    ("k", "FLOAT", "1\x00"),
    ("k", "FLOAT", MAX),
    ("k", "FLOAT", MAX + 1),
    ("k", "INT8", MAX, MAX),
    ("k", "STRING", MAX),
    ("k", "INT8", *([2] * 63)),
    ("k", "INT8", *([1] * 100_000)),
    ("k", "FLOAT16", 1),
    ("k", "", 1),
    ("k", "FLOAT\x00", 1),
    ("k", BLOB, BLOB),
    ("k", "FLOAT", 2, "BLOB"),
    ("k", "FLOAT", 2, "BLOB", ""),
    ("k", "FLOAT", 2, "BLOB", "1234567"),
    ("k", "FLOAT", 2, "BLOB", "123456789"),
    ("k", "FLOAT", 2, "BLOB", "12345678", "VALUES"),
    ("k", "FLOAT", MAX, "BLOB", ""),
    ("k", "FLOAT", 2**62, "BLOB", ""),
    ("k", "BOOL", 1, "BLOB", "\x02"),
    ("k", "STRING", 1, "BLOB", ""),
    ("k", "STRING", 1, "BLOB", "unterminated"),
    ("k", "STRING", MAX, "BLOB", "a\x00"),
    ("k", "FLOAT", 2, "VALUES"),
    ("k", "FLOAT", 2, "VALUES", 1),
    ("k", "FLOAT", 2, "VALUES", 1, 2, 3),
    ("k", "FLOAT", 1, "VALUES", "nan"),
    ("k", "FLOAT", 1, "VALUES", "1e39"),
    ("k", "FLOAT", 1, "VALUES", "1" * 100_000),
    ("k", "INT64", 1, "VALUES", MAX + 1),
    ("k", "UINT8", 1, "VALUES", -1),
    ("k", "BOOL", 1, "VALUES", "true"),
    ("k", "STRING", 1, "VALUES", "a\x00b"),
]
TENSORGET: list[Call] = [
    (),
    ("missing",),
    ("string",),
    ("m",),
    ("x", "FOO"),
    ("x", "BLOB", "VALUES"),
    ("x", "META\x00"),
    ("x", *(["META"] * 10_000), "FOO"),
]
MODELSTORE: list[Call] = [
    (),
    ("k",),
    ("k", "TORCH", "CPU", "BLOB"),
    ("k", "NONE", "CPU", "BLOB", BLOB),
    ("k", "TORCH", "CPU:", "TAG", "a", "BLOB", BLOB),
    ("k", "TORCH", "CPU:" + "1" * 100_000, "BLOB", BLOB),
    ("k", "TORCH", b"\xff\x00", "BLOB", BLOB),
    ("k", "TORCH", "CPU", "TAG", "BLOB", BLOB),
    ("k", "TORCH", "CPU", "TAG", "a"),
    ("k", "TORCH", "CPU", "BATCHSIZE", MAX + 1, "BLOB", BLOB),
    ("k", "TORCH", "CPU", "BATCHSIZE", -1, "BLOB", BLOB),
    ("k", "TORCH", "CPU", "BATCHSIZE", "BLOB", BLOB),
    ("k", "TORCH", "CPU", "MINBATCHSIZE", 1, "BLOB", BLOB),
    ("k", "TORCH", "CPU", "BATCHSIZE", 1, "MINBATCHTIMEOUT", 1, "BLOB", BLOB),
    ("k", "TORCH", "CPU", "INPUTS", 1, "a", "OUTPUTS", 1, "b", "BLOB", BLOB),
    ("k", "TF", "CPU", "INPUTS", MAX, "a", "OUTPUTS", 1, "b", "BLOB", BLOB),
    ("k", "TF", "CPU", "INPUTS", 1, "a", "OUTPUTS", MAX, "b", "BLOB", BLOB),
    ("k", "TF", "CPU", "INPUTS", -1, "a", "OUTPUTS", 1, "b", "BLOB", BLOB),
    ("k", "TORCH", "CPU", "BLOB", ""),
    ("k", "TORCH", "CPU", "BLOB", BLOB),
    ("k", "ONNX", "CPU", "BLOB", BLOB),
    ("k", "TF", "CPU", "INPUTS", 1, "a", "OUTPUTS", 1, "b", "BLOB", BLOB),
    ("k", "TFLITE", "CPU", "BLOB", BLOB),
    ("k", "TORCH", "GPU:99", "BLOB", torch_models.doubler()),
    ("k", "TORCH", "CPU", "BLOB", torch_models.doubler()[:-100]),
    ("string", "TORCH", "CPU", "BLOB", torch_models.doubler()),
    ("x", "TORCH", "CPU", "BLOB", torch_models.doubler()),
]
MODELSET: list[Call] = [
    (),
    ("k", "TORCH"),
    ("k", "TORCH", "CPU"),
    ("k", "TORCH", "BLOB", "BLOB", BLOB),
    ("k", "TORCH", "XPU", "BLOB", BLOB),
    ("k", "TORCH", "CPU", "BATCHSIZE"),
    ("k", "TORCH", "CPU", "BATCHSIZE", 1, "MINBATCHSIZE"),
    ("k", "TORCH", "CPU", "BATCHSIZE", 1, "MINBATCHSIZE", 1, "MINBATCHTIMEOUT"),
    ("k", "TF", "CPU", "INPUTS", "a", "OUTPUTS"),
    ("k", "TF", "CPU", "INPUTS", "OUTPUTS", "BLOB"),
    ("k", "TORCH", "CPU", "BLOB", BLOB),
    ("string", "TORCH", "CPU", "BLOB", BLOB),
]
MODELGET: list[Call] = [(), ("missing",), ("string",), ("x",), ("m", "META", "BLOB", "MORE")]
MODELDEL: list[Call] = [(), ("missing",), ("string",), ("x",), ("m", "m")]
MODELSCAN: list[Call] = [("more",)]
MODELEXECUTE: list[Call] = [
    (),
    ("m",),
    ("m", "INPUTS", 1, "x", "OUTPUTS", 1),
    ("m", "INPUTS", MAX, "x", "OUTPUTS", 1, "y"),
    ("m", "INPUTS", MAX + 1, "x", "OUTPUTS", 1, "y"),
    ("m", "INPUTS", -MAX - 1, "x", "OUTPUTS", 1, "y"),
    ("m", "INPUTS", 0, "OUTPUTS", 1, "y", "TIMEOUT", 1),
    ("m", "INPUTS", 1, "x", "OUTPUTS", MAX, "y"),
    ("m", "INPUTS", 1, "x", "OUTPUTS", 1, "y", "TIMEOUT"),
    ("m", "INPUTS", 1, "x", "OUTPUTS", 1, "y", "TIMEOUT", 0),
    ("m", "INPUTS", 1, "x", "OUTPUTS", 1, "y", "TIMEOUT", MAX + 1),
    ("m", "INPUTS", 1, "x", "OUTPUTS", 1, "y", "a\r\n-ERR b\r\n"),
    ("m", "INPUTS", 1, "x", "OUTPUTS", 1, "y", "\x00" * 100_000),
    ("m", "INPUTS", 2, "x", "x", "OUTPUTS", 1, "y"),
    ("m", "INPUTS", 1, "x", "OUTPUTS", 2, "y", "z"),
    ("m", "INPUTS", 1, "string", "OUTPUTS", 1, "y"),
    ("m", "INPUTS", 1, "m", "OUTPUTS", 1, "y"),
    ("m", "INPUTS", 1, BLOB, "OUTPUTS", 1, BLOB),
    ("m", "INPUTS", 1, "x", "OUTPUTS", 1, "string"),
    ("missing", "INPUTS", 1, "x", "OUTPUTS", 1, "y"),
    ("string", "INPUTS", 1, "x", "OUTPUTS", 1, "y"),
    ("m", "INPUTS", 10_000, *(["x"] * 10_000), "OUTPUTS", 1, "y"),
]
MODELRUN: list[Call] = [
    (),
    ("m",),
    ("m", "INPUTS", "x", "OUTPUTS"),
    ("m", "INPUTS", "OUTPUTS", "INPUTS", "OUTPUTS"),
    ("m", "TIMEOUT", "INPUTS", "x", "OUTPUTS", "y"),
    ("m", "TIMEOUT", 0, "INPUTS", "x", "OUTPUTS", "y"),
    ("m", "INPUTS", "x", "x", "OUTPUTS", "y"),
    ("m", "INPUTS", "x", "y", "z", "OUTPUT"),
    ("missing", "INPUTS", "x", "OUTPUTS", "y"),
    ("m", "INPUTS", *(["x"] * 10_000), "OUTPUTS", "y"),
]
SCRIPTSTORE: list[Call] = [
    (),
    ("k",),
    ("k", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE"),
    ("k", BLOB, "ENTRY_POINTS", 1, "f", "SOURCE", ""),
    ("k", "CPU:", "ENTRY_POINTS", 1, "f", "SOURCE", ""),
    ("k", "CPU", "ENTRY_POINTS", MAX, "f", "SOURCE", ""),
    ("k", "CPU", "ENTRY_POINTS", MAX + 1, "f", "SOURCE", ""),
    ("k", "CPU", "ENTRY_POINTS", "1\x00", "f", "SOURCE", ""),
    ("k", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", "", "more"),
    ("k", "CPU", "ENTRY_POINTS", 1, "f", "g", "SOURCE", ""),
    ("k", "CPU", "ENTRY_POINTS", 1, BLOB, "SOURCE", ""),
    ("k", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", BLOB),
    ("k", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", "(" * 100_000),
    ("string", "CPU", "ENTRY_POINTS", 1, "f", "SOURCE", ""),
]
SCRIPTSET: list[Call] = [
    (),
    ("k", "CPU", "SOURCE"),
    ("k", "CPU", "TAG", "SOURCE", "def f(a):\n    return a\n"),
    ("k", "CPU", "SOURCE", "def f(a):\n    return a\n\x00"),
    ("k", "CPU", "SOURCE", "x" * 300_000),
    ("x", "CPU", "SOURCE", ""),
]
SCRIPTGET: list[Call] = [(), ("missing",), ("string",), ("m",), ("x", "META", "SOURCE", "MORE")]
SCRIPTDEL: list[Call] = [(), ("missing",), ("string",), ("m",), ("m", "m")]
INFO: list[Call] = [("missing",), ("string",), ("x",), ("m", "RESETSTAT", "more")]
CONFIG: list[Call] = [
    (),
    ("GET",),
    ("GET", "a", "b"),
    ("MODEL_CHUNK_SIZE",),
    ("MODEL_CHUNK_SIZE", 0),
    ("MODEL_CHUNK_SIZE", -1),
    ("MODEL_CHUNK_SIZE", "1\x00"),
    ("MODEL_CHUNK_SIZE", MAX),
    ("BACKENDSPATH",),
    ("LOADBACKEND",),
    ("LOADBACKEND", "TORCH"),
    ("LOADBACKEND", "TORCH", "a" * 100_000),
    ("LOADBACKEND", BLOB, BLOB),
    (BLOB,),
]

CALLS = [
    (command, *arguments)
    for command, calls in {
        "AI.TENSORSET": TENSORSET,
        "AI.TENSORGET": TENSORGET,
        "AI.MODELSTORE": MODELSTORE,
        "AI.MODELSET": MODELSET,
        "AI.MODELGET": MODELGET,
        "AI.MODELDEL": MODELDEL,
        "AI._MODELSCAN": MODELSCAN,
        "AI.MODELEXECUTE": MODELEXECUTE,
        "AI.MODELRUN": MODELRUN,
        "AI.SCRIPTSTORE": SCRIPTSTORE,
        "AI.SCRIPTSET": SCRIPTSET,
        "AI.SCRIPTGET": SCRIPTGET,
        "AI.SCRIPTDEL": SCRIPTDEL,
        "AI._SCRIPTSCAN": [("more",)],
        "AI.INFO": INFO,
        "AI.CONFIG": CONFIG,
    }.items()
    for arguments in calls
]


def _title(call: Call) -> str:
    return " ".join(repr(part)[:24] for part in call)[:100]


@pytest.mark.parametrize("call", CALLS, ids=_title)
def test_it_is_answered_by_one_error_and_stores_nothing(client: redis.Redis, call: Call) -> None:
    client.set("string", "kept")
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0)
    with pytest.raises(redis.ResponseError):
        client.execute_command(*call)
    assert client.echo("in step") == b"in step"
    assert sorted(client.keys()) == [b"m", b"string", b"x"]
    assert client.get("string") == b"kept"


@pytest.mark.parametrize("command", sorted({str(call[0]) for call in CALLS}))
def test_the_server_can_ask_for_the_keys_of_any_call(client: redis.Redis, command: str) -> None:
    for call in CALLS:
        if call[0] == command and len(call) > 1:
            try:
                client.execute_command("COMMAND GETKEYS", *call)
            except redis.ResponseError:
                continue
    assert client.echo("in step") == b"in step"


@pytest.mark.parametrize("key", [b"", b"\x00", b"\xff\xfe", b"a\r\nb", b" ", b"k" * 100_000], ids=repr)
def test_any_bytes_are_a_key(client: redis.Redis, key: bytes) -> None:
    client.execute_command("AI.TENSORSET", key, "FLOAT", 1, "VALUES", 1.5)
    assert client.execute_command("AI.TENSORGET", key, "VALUES") == [b"1.5"]
    client.execute_command("AI.MODELSTORE", key + b"m", "TORCH", "CPU", "BLOB", torch_models.doubler())
    client.execute_command("AI.MODELEXECUTE", key + b"m", "INPUTS", 1, key, "OUTPUTS", 1, key + b"o")
    assert client.execute_command("AI.TENSORGET", key + b"o", "VALUES") == [b"3"]
    assert client.execute_command("AI._MODELSCAN") == [[key + b"m", b""]]
    client.execute_command("AI.SCRIPTSET", key + b"s", "CPU", "SOURCE", "")
    assert client.execute_command("AI._SCRIPTSCAN") == [[key + b"s", b""]]
    assert client.execute_command("AI.INFO", key + b"m")[1] == key + b"m"
