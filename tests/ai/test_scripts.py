"""Scripts as keys: what is stored, listed, dumped, copied and refused."""

from __future__ import annotations

import contextlib

import pytest
import redis
from support import torch_models
from support.cluster import Cluster
from support.run_info import run_info
from support.torch_scripts import execute, source

TAKES = ("AI.SCRIPTSTORE", "AI.SCRIPTSET")
MAX_SOURCE_BYTES = 256 * 1024
OLD = "def twice(a):\n    return a * 2\n"


def _store(
    client: redis.Redis, key: str, *options: object, text: str = source("f", "return tensors[0]")
) -> None:
    words = ("AI.SCRIPTSTORE", key, "CPU", *options, "ENTRY_POINTS", 1, "f", "SOURCE", text)
    assert client.execute_command(*words) == b"OK"


def _listed(client: redis.Redis) -> dict[bytes, bytes]:
    return dict(client.execute_command("AI._SCRIPTSCAN"))


def test_a_script_that_does_not_compile_leaves_what_was_there(client: redis.Redis) -> None:
    _store(client, "s", "TAG", "first")
    for text in ("def f(", source("f", "return nothing(tensors)"), OLD):
        with pytest.raises(redis.ResponseError):
            _store(client, "s", text=text)
    assert client.execute_command("AI.SCRIPTGET", "s", "META")[3] == b"first"
    with pytest.raises(redis.ResponseError):
        _store(client, "new", text="def f(")
    assert not client.exists("new")


def test_a_source_is_bytes_that_come_back_as_they_were(client: redis.Redis) -> None:
    text = source("f", "return tensors[0]  # \u00e9\t\r")
    _store(client, "s", "TAG", b"\x00\xff\r\n", text=text)
    assert client.execute_command("AI.SCRIPTGET", "s", "SOURCE") == text.encode()
    assert client.execute_command("AI.SCRIPTGET", "s", "META")[3] == b"\x00\xff\r\n"


def test_a_source_longer_than_any_is_refused(client: redis.Redis) -> None:
    longest = source("f", "return tensors[0]").encode().ljust(MAX_SOURCE_BYTES, b"#")
    for command, words in zip(TAKES, (("ENTRY_POINTS", 1, "f"), ()), strict=True):
        assert client.execute_command(command, "s", "CPU", *words, "SOURCE", longest) == b"OK"
        with pytest.raises(redis.ResponseError, match="at most 262144 bytes"):
            client.execute_command(command, "s", "CPU", *words, "SOURCE", longest + b"#")
    with pytest.raises(redis.ResponseError, match="at most 1024 entry points"):
        client.execute_command(
            "AI.SCRIPTSTORE", "s", "CPU", "ENTRY_POINTS", 1025, *["f"] * 1025, "SOURCE", ""
        )


@pytest.mark.parametrize("command", TAKES)
@pytest.mark.parametrize(
    "make", [("SET", "s", 1), ("RPUSH", "s", 1), ("AI.TENSORSET", "s", "INT8", 1)], ids=str
)
def test_a_script_is_not_stored_over_something_else(
    client: redis.Redis, command: str, make: tuple[object, ...]
) -> None:
    client.execute_command(*make)
    kind = client.type("s")
    words = ("ENTRY_POINTS", 1, "f") if command == "AI.SCRIPTSTORE" else ()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.execute_command(command, "s", "CPU", *words, "SOURCE", source("f", "return tensors[0]"))
    assert client.type("s") == kind


def test_dump_and_restore_give_the_same_script(client: redis.Redis) -> None:
    _store(client, "s", "TAG", "t")
    client.execute_command("AI.SCRIPTSET", "old", "Cpu:0", "SOURCE", OLD)
    for key in ("s", "old"):
        payload = client.execute_command("DUMP", key)
        client.restore("n", 0, payload, replace=True)
        assert client.execute_command("DUMP", "n") == payload
        assert client.execute_command("AI.SCRIPTGET", "n") == client.execute_command("AI.SCRIPTGET", key)
        digests = [client.execute_command("DEBUG", "DIGEST-VALUE", name) for name in (key, "n")]
        assert digests[0] == digests[1]
    torch_models.set_tensor(client, "x", 2.0)
    client.execute_command("AI.SCRIPTRUN", "n", "twice", "INPUTS", "x", "OUTPUTS", "y")
    assert torch_models.get_tensor(client, "y") == [b"4"]


def test_a_damaged_payload_is_refused(client: redis.Redis) -> None:
    """11 of the crashes of RedisAI: also where the checksum is right."""
    text = source("f", "return tensors[0]")
    _store(client, "s", "TAG", "t", text=text)
    payload = client.execute_command("DUMP", "s")
    body, tail = payload[:-10], payload[-10:]
    client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
    for at in range(len(body)):
        flipped = body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :] + tail
        for damaged in (flipped, body[:at] + body[at + 1 :] + tail, body[:at] + tail):
            with contextlib.suppress(redis.ResponseError):
                client.restore("d", 0, damaged, replace=True)
                if client.type("d") == b"AI_SCRIPT":  # the damage hit the tag or the name of an entry point
                    assert client.execute_command("AI.SCRIPTGET", "d", "SOURCE") == text.encode()
    client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 0)
    assert client.echo("in step") == b"in step"


def test_copy_starts_with_counters_at_zero_and_rename_takes_them_along(client: redis.Redis) -> None:
    _store(client, "s")
    torch_models.set_tensor(client, "x", 1.0)
    execute(client, "s f INPUTS 1 x OUTPUTS 1 y")
    client.copy("s", "copy")
    client.rename("s", "renamed")
    assert run_info(client, "copy")[b"calls"] == 0 and run_info(client, "copy")[b"samples"] == -1
    assert run_info(client, "renamed")[b"calls"] == 1
    assert execute(client, "copy f INPUTS 1 x OUTPUTS 1 y") == b"OK"


def test_the_list_of_scripts_follows_renames_moves_and_swaps(client: redis.Redis) -> None:
    for key in ("a", "b", "c"):
        _store(client, key, "TAG", key)
    client.rename("a", "renamed")
    client.move("b", 3)
    assert _listed(client) == {b"renamed": b"a", b"b": b"b", b"c": b"c"}
    client.execute_command("SWAPDB", 0, 5)
    assert _listed(client) == {b"renamed": b"a", b"b": b"b", b"c": b"c"}
    client.flushall(asynchronous=True)
    assert _listed(client) == {}


def test_a_script_can_be_stored_by_lua_and_in_a_transaction(client: redis.Redis) -> None:
    client.config_set("keymiss.sync-timeout-ms", 60_000)  # the models worker may have to start first
    lua = "return redis.call('AI.SCRIPTSTORE', KEYS[1], 'CPU', 'ENTRY_POINTS', 1, 'f', 'SOURCE', ARGV[1])"
    assert client.eval(lua, 1, "s", source("f", "return tensors[0]")) == b"OK"
    pipeline = client.pipeline(transaction=True)
    pipeline.execute_command("AI.SCRIPTSET", "n", "CPU", "SOURCE", OLD)
    pipeline.execute_command("AI.SCRIPTSET", "bad", "CPU", "SOURCE", "def f(")
    stored, refused = pipeline.execute(raise_on_error=False)
    assert stored == b"OK" and isinstance(refused, redis.ResponseError)
    assert set(_listed(client)) == {b"s", b"n"}


def test_the_server_counts_scripts_and_their_bytes(client: redis.Redis) -> None:
    text = source("f", "return tensors[0]")
    for key in ("s", "n"):
        _store(client, key, text=text)
    info = client.info("keymiss")
    assert (info["keymiss_scripts"], info["keymiss_script_bytes"]) == (2, 2 * len(text))
    assert len(text) < client.execute_command("MEMORY", "USAGE", "s") < len(text) + 1000
    client.execute_command("AI.SCRIPTDEL", "s")
    client.unlink("n")
    assert client.info("keymiss")["keymiss_scripts"] == 0


def test_each_shard_takes_its_own_scripts(cluster: Cluster) -> None:
    with contextlib.closing(cluster.client()) as client:
        for shard in cluster.shards:
            tag = "{" + shard.hash_tag + "}"
            words = ("ENTRY_POINTS", 1, "f", "SOURCE", source("f", "return tensors[0] + 1"))
            client.execute_command("AI.SCRIPTSTORE", "s" + tag, "CPU", *words)
            client.execute_command("AI.TENSORSET", "x" + tag, "FLOAT", 1, "VALUES", 2)
            run = f"s{tag} f INPUTS 1 x{tag} OUTPUTS 1 y{tag}"
            assert client.execute_command("AI.SCRIPTEXECUTE", *run.split()) == b"OK"
            assert client.execute_command("AI.TENSORGET", "y" + tag, "VALUES") == [b"3"]
    elsewhere = "s{" + cluster.shards[1].hash_tag + "}"
    with contextlib.closing(cluster.masters[0].client()) as direct:
        for command in ("AI.SCRIPTGET", "AI.SCRIPTDEL"):
            with pytest.raises(redis.exceptions.MovedError):
                direct.execute_command(command, elsewhere)
