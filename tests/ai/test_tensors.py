"""Tensors as keys: what is refused, what other commands do with them, and what survives DUMP and RESTORE."""

from __future__ import annotations

import contextlib
import struct

import pytest
import redis
from support import torch_models
from support.running import models_worker_held, sent, wait_until_running
from support.server import Server
from support.waiting import wait_until

DTYPES = {
    "FLOAT": struct.pack("<4f", 1.5, -2.0, 0.1, 3e38),
    "DOUBLE": struct.pack("<4d", 1.5, -2.0, 0.1, 1e300),
    "INT8": struct.pack("<4b", -128, -1, 0, 127),
    "INT16": struct.pack("<4h", -32768, -1, 0, 32767),
    "INT32": struct.pack("<4i", -(2**31), -1, 0, 2**31 - 1),
    "INT64": struct.pack("<4q", -(2**63), -1, 0, 2**63 - 1),
    "UINT8": bytes([0, 1, 2, 255]),
    "UINT16": struct.pack("<4H", 0, 1, 2, 65535),
    "BOOL": bytes([0, 1, 1, 0]),
    "STRING": b"\x00one\x00\xff\x00with space\x00",
}

HUGE = [
    ("INT8", 2**63 - 1),
    ("INT8", 3037000500, 3037000500),
    ("FLOAT", 2**32, 2**32),
    ("FLOAT", 1_000_000, 1_000_000),
    ("DOUBLE", 2**62, 4),
    ("STRING", 1_000_000_000_000),
    ("STRING", 2**32, 2**32),
    ("BOOL", 512 * 1024 * 1024 + 1),
    ("INT64", *([2] * 40)),
]


@pytest.mark.parametrize("shape", HUGE, ids=str)
def test_a_shape_that_cannot_be_is_refused_before_memory_is_taken(
    client: redis.Redis, shape: tuple[object, ...]
) -> None:
    before = client.info("memory")["used_memory"]
    for data in ((), ("BLOB", b"")):
        with pytest.raises(redis.ResponseError):
            client.execute_command("AI.TENSORSET", "t", *shape, *data)
    assert not client.exists("t")
    assert client.info("memory")["used_memory"] - before < 1_000_000


def test_more_dimensions_than_anyone_needs_are_refused(client: redis.Redis) -> None:
    assert client.execute_command("AI.TENSORSET", "t", "INT8", *([1] * 64)) == b"OK"
    with pytest.raises(redis.ResponseError, match="at most 64 dimensions"):
        client.execute_command("AI.TENSORSET", "t", "INT8", *([1] * 65))


def test_negative_integers_can_be_given_as_values(client: redis.Redis) -> None:
    for dtype in ("INT8", "INT16", "INT32", "INT64"):
        client.execute_command("AI.TENSORSET", "t", dtype, 2, "VALUES", -1, -100)
        assert client.execute_command("AI.TENSORGET", "t", "VALUES") == [-1, -100]


def test_an_empty_string_can_be_given_as_a_value(client: redis.Redis) -> None:
    client.execute_command("AI.TENSORSET", "t", "STRING", 3, "VALUES", "", "a", "")
    assert client.execute_command("AI.TENSORGET", "t", "VALUES") == [b"", b"a", b""]
    assert client.execute_command("AI.TENSORGET", "t", "BLOB") == b"\x00a\x00\x00"


@pytest.mark.parametrize("position", range(4))
def test_every_byte_of_a_bool_blob_is_checked(client: redis.Redis, position: int) -> None:
    blob = bytearray(4)
    blob[position] = 2
    with pytest.raises(redis.ResponseError, match="BOOL tensor elements must be 0 or 1"):
        client.execute_command("AI.TENSORSET", "t", "BOOL", 4, "BLOB", bytes(blob))


def test_reals_are_doubles_in_resp3(server: Server) -> None:
    with contextlib.closing(server.client(protocol=3)) as client:
        client.execute_command("AI.TENSORSET", "t", "DOUBLE", 3, "VALUES", 0.1, "inf", -2.5)
        assert client.execute_command("AI.TENSORGET", "t", "VALUES") == [0.1, float("inf"), -2.5]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dump_and_restore_give_the_same_tensor(client: redis.Redis, dtype: str) -> None:
    client.execute_command("AI.TENSORSET", "t", dtype, 2, 2, "BLOB", DTYPES[dtype])
    payload = client.execute_command("DUMP", "t")
    client.restore("u", 0, payload)
    assert client.execute_command("AI.TENSORGET", "u") == client.execute_command("AI.TENSORGET", "t")
    assert client.execute_command("DUMP", "u") == payload
    assert _digest(client, "u") == _digest(client, "t")


@pytest.mark.parametrize("dtype", ["FLOAT", "BOOL", "STRING"])
def test_a_damaged_payload_is_refused_or_gives_a_whole_tensor(client: redis.Redis, dtype: str) -> None:
    client.execute_command("AI.TENSORSET", "t", dtype, 2, 2, "BLOB", DTYPES[dtype])
    payload = client.execute_command("DUMP", "t")
    for damaged in _damaged(payload):
        _restore_without_checksum(client, damaged)
        if client.type("d") != b"AI_TENSOR":  # refused, or the damage made another type of it
            continue
        meta = client.execute_command("AI.TENSORGET", "d", "META", "VALUES")
        elements = 1
        for dimension in meta[3]:
            elements *= dimension
        assert len(meta[5]) == elements


def test_copy_gives_a_tensor_of_its_own(client: redis.Redis) -> None:
    client.execute_command("AI.TENSORSET", "t", "INT8", 2, "VALUES", 1, 2)
    assert client.copy("t", "u")
    client.execute_command("AI.TENSORSET", "t", "INT8", 1, "VALUES", 9)
    assert client.execute_command("AI.TENSORGET", "u", "META", "VALUES")[3:] == [[2], b"values", [1, 2]]
    assert client.delete("t") == 1
    assert client.execute_command("AI.TENSORGET", "u", "VALUES") == [1, 2]


def test_memory_usage_sees_the_data(client: redis.Redis) -> None:
    client.execute_command("AI.TENSORSET", "t", "UINT8", 1_000_000)
    assert 1_000_000 < client.execute_command("MEMORY", "USAGE", "t") < 1_001_000


def _wait_until_all_are_gone(client: redis.Redis) -> None:
    """A thread of Valkey's frees what FLUSHALL takes away."""
    wait_until(lambda: client.info("keymiss")["keymiss_tensors"] == 0, 10.0, "no tensors")


def test_info_counts_tensors_and_forgets_those_that_are_gone(client: redis.Redis) -> None:
    _wait_until_all_are_gone(client)  # of the test before
    client.execute_command("AI.TENSORSET", "t", "UINT8", 1000)
    client.execute_command("AI.TENSORSET", "t", "UINT8", 2000)
    client.copy("t", "u")
    info = client.info("keymiss")
    assert info["keymiss_tensors"] == 2
    assert 4000 < info["keymiss_tensor_bytes"] < 4500
    client.flushall()
    _wait_until_all_are_gone(client)


def test_writing_a_tensor_is_no_miss_of_its_key(client: redis.Redis) -> None:
    client.config_set("notify-keyspace-events", "KEm")
    with contextlib.closing(client.pubsub()) as events:
        events.psubscribe("__keyspace@0__:*")
        assert events.get_message(timeout=5.0) is not None
        client.execute_command("AI.TENSORSET", "new", "INT8", 1)
        client.get("end")
        message = events.get_message(timeout=5.0)
    client.config_set("notify-keyspace-events", "")
    assert message is not None and message["channel"] == b"__keyspace@0__:end"


def _digest(client: redis.Redis, key: str) -> object:
    return client.execute_command("DEBUG", "DIGEST-VALUE", key)


def _damaged(payload: bytes) -> list[bytes]:
    """Every cut and every bit of every byte, but for the ten bytes of version and checksum at the end."""
    body, tail = payload[:-10], payload[-10:]
    cut = [body[:length] + tail for length in range(len(body))]
    flipped = [
        body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :] + tail
        for at in range(len(body))
        for bit in range(8)
    ]
    return cut + flipped


def _restore_without_checksum(client: redis.Redis, payload: bytes) -> None:
    client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
    with contextlib.suppress(redis.ResponseError):
        client.restore("d", 0, payload, replace=True)
    client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 0)


def test_what_is_stored_over_a_tensor_takes_its_place_and_lives_for_ever(client: redis.Redis) -> None:
    _wait_until_all_are_gone(client)  # of the test before
    for ttl_s in (None, 100):
        client.execute_command("AI.TENSORSET", "t", "FLOAT", 2, "VALUES", 1, 2)
        client.execute_command("COPY", "t", "copy", "REPLACE")
        if ttl_s:
            client.expire("t", ttl_s)
        client.execute_command("AI.TENSORSET", "t", "INT8", 3, "VALUES", 1, 2, 3)
        assert client.ttl("t") == -1
        assert client.execute_command("AI.TENSORGET", "t", "VALUES") == [1, 2, 3]
        assert client.execute_command("AI.TENSORGET", "copy", "VALUES") == [b"1", b"2"]
    client.delete("t", "copy")
    assert client.info("keymiss")["keymiss_tensor_bytes"] == 0  # what was replaced is gone


def test_a_blob_over_one_of_the_same_shape_changes_only_that_key(
    client: redis.Redis, other: redis.Redis
) -> None:
    old, new = bytes(range(8)), bytes(range(8, 16))
    client.execute_command("AI.TENSORSET", "t", "UINT8", 2, 4, "BLOB", old)
    client.copy("t", "copy")
    for given in (new, old, new):  # over one that is shared, then over one that is not
        with client.pipeline() as watching:
            watching.watch("t")
            other.execute_command("AI.TENSORSET", "t", "UINT8", 2, 4, "BLOB", given)
            watching.multi()
            watching.ping()
            with pytest.raises(redis.WatchError):
                watching.execute()
        assert client.execute_command("AI.TENSORGET", "t", "BLOB") == given
        assert client.execute_command("AI.TENSORGET", "copy", "BLOB") == old
    with pytest.raises(redis.ResponseError, match="data length"):
        client.execute_command("AI.TENSORSET", "t", "UINT8", 2, 4, "BLOB", old[1:])
    assert client.execute_command("AI.TENSORGET", "t", "BLOB") == new


def test_a_run_keeps_the_inputs_that_it_was_called_with(client: redis.Redis, other: redis.Redis) -> None:
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0)
    torch_models.execute(client, "m", "x", "y")
    with (
        models_worker_held(other) as go_on,
        sent(client, "AI.MODELEXECUTE", "m", "INPUTS", 1, "x", "OUTPUTS", 1, "y") as running,
    ):
        wait_until_running(other, 1)
        torch_models.set_tensor(other, "x", 5.0)
        other.execute_command("AI.TENSORSET", "x", "FLOAT", 1, "BLOB", struct.pack("<f", 7.0))
        go_on()
        assert running.read_response() == b"OK"
    assert torch_models.get_tensor(other, "y") == [b"2"]
