"""Models as keys: their files, their counters, and what other commands do with them."""

from __future__ import annotations

import contextlib
import hashlib
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from support import torch_models
from support.run_info import run_info
from support.server import Server
from support.waiting import wait_until

OPTIONS = ("TAG", "v1", "BATCHSIZE", 8, "MINBATCHSIZE", 2, "MINBATCHTIMEOUT", 50)


def _store(client: redis.Redis, key: str, blob: bytes, *options: object) -> None:
    assert client.execute_command("AI.MODELSTORE", key, "TORCH", "CPU", *options, "BLOB", blob) == b"OK"


def _files(server: Server) -> list[str]:
    folder = server.folder / "models"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _name(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def test_the_bytes_are_in_one_private_file_named_after_their_digest(
    server: Server, client: redis.Redis
) -> None:
    blob = torch_models.doubler()
    _store(client, "one", blob)
    _store(client, "two", blob, *OPTIONS)
    assert _files(server) == [_name(blob)]
    path = server.folder / "models" / _name(blob)
    assert path.read_bytes() == blob
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_goes_with_the_last_key_that_holds_it(server: Server, client: redis.Redis) -> None:
    blob = torch_models.doubler()
    _store(client, "one", blob)
    client.copy("one", "two")
    client.execute_command("AI.MODELDEL", "one")
    assert _files(server) == [_name(blob)]
    client.set("two", "something else")
    wait_until(lambda: _files(server) == [], 5.0, "the file is gone")


def test_storing_the_same_model_again_does_not_write_it_again(server: Server, client: redis.Redis) -> None:
    blob = torch_models.doubler()
    _store(client, "one", blob)
    inode = (server.folder / "models" / _name(blob)).stat().st_ino
    _store(client, "one", blob, "TAG", "again")
    _store(client, "two", blob)
    assert (server.folder / "models" / _name(blob)).stat().st_ino == inode


def test_flushing_in_the_background_removes_the_files_too(server: Server, client: redis.Redis) -> None:
    _store(client, "one", torch_models.doubler())
    _store(client, "two", torch_models.slow())
    client.flushall(asynchronous=True)
    wait_until(lambda: _files(server) == [], 5.0, "the files are gone")
    assert client.info("keymiss")["keymiss_models"] == 0


def test_a_model_that_cannot_be_loaded_leaves_nothing_behind(server: Server, client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError):
        _store(client, "m", b"this is no model")
    assert not client.exists("m")
    wait_until(lambda: _files(server) == [], 5.0, "the file is gone")


def test_two_servers_share_a_folder_and_each_keeps_the_other_s_files(
    make_server: Callable[..., Server], host_models: dict[str, object], tmp_path: Path
) -> None:
    shared = tmp_path / "shared-models"
    servers = [make_server(settings={**host_models, "keymiss.models-dir": shared}) for _ in range(2)]
    blob = torch_models.doubler()
    with contextlib.closing(servers[0].client()) as one, contextlib.closing(servers[1].client()) as two:
        _store(one, "m", blob)
        _store(two, "m", blob)
        one.delete("m")
        assert [path.name for path in shared.iterdir()] == [_name(blob)]
        torch_models.set_tensor(two, "x", 1.0)
        assert torch_models.execute(two, "m", "x", "y") == b"OK"
        _store(one, "m", blob)
        servers[1].kill()
        servers[1].start()  # without its data: what it left is swept, what the other uses is not
        assert [path.name for path in shared.iterdir()] == [_name(blob)]
        one.delete("m")
        wait_until(lambda: list(shared.iterdir()) == [], 5.0, "the file is gone")


def test_files_that_a_killed_server_left_are_swept_at_the_next_start(
    make_server: Callable[..., Server], host_models: dict[str, object]
) -> None:
    server = make_server(settings=host_models)
    with contextlib.closing(server.client()) as client:
        _store(client, "m", torch_models.doubler())
    stale = server.folder / "models" / f".{'0' * 64}.abcdef"
    stale.write_bytes(b"half a model")
    mine = server.folder / "models" / "README"
    mine.write_bytes(b"not a model's name")
    server.kill()
    server.start()
    wait_until(lambda: _files(server) == ["README"], 5.0, "only what is no model's file is left")


def test_a_file_that_was_cut_short_is_written_again(
    make_server: Callable[..., Server], host_models: dict[str, object]
) -> None:
    server = make_server(settings=host_models)
    blob = torch_models.doubler()
    path = server.folder / "models" / _name(blob)
    path.parent.mkdir()
    path.write_bytes(blob[:100])
    with contextlib.closing(server.client()) as client:
        _store(client, "m", blob)
        assert client.execute_command("AI.MODELGET", "m", "BLOB") == blob
    assert path.read_bytes() == blob


def test_a_folder_that_cannot_be_made_is_told(make_server: Callable[..., Server]) -> None:
    server = make_server(settings={"keymiss.models-dir": "/proc/no/such/folder"})
    with (
        contextlib.closing(server.client()) as client,
        pytest.raises(redis.ResponseError, match=r"keymiss\.models-dir"),
    ):
        _store(client, "m", torch_models.doubler())


def test_dump_and_restore_give_the_same_model(client: redis.Redis) -> None:
    _store(client, "m", torch_models.sum_and_product(), *OPTIONS)
    payload = client.execute_command("DUMP", "m")
    client.restore("n", 0, payload)
    assert client.execute_command("DUMP", "n") == payload
    assert client.execute_command("AI.MODELGET", "n") == client.execute_command("AI.MODELGET", "m")
    digests = [client.execute_command("DEBUG", "DIGEST-VALUE", key) for key in ("m", "n")]
    assert digests[0] == digests[1]


def test_a_damaged_payload_is_refused(server: Server, client: redis.Redis) -> None:
    _store(client, "m", torch_models.doubler(), *OPTIONS)
    payload = client.execute_command("DUMP", "m")
    body, tail = payload[:-10], payload[-10:]
    client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 1)
    step = max(1, len(body) // 300)  # every byte of what comes before the bytes of the model, then some
    for at in [*range(250), *range(250, len(body), step)]:
        flipped = body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :] + tail
        for damaged in (flipped, body[:at] + tail):
            with contextlib.suppress(redis.ResponseError):
                client.restore("d", 0, damaged, replace=True)
                if client.type("d") == b"AI__MODEL":  # the damage hit a tag or a number
                    blob = client.execute_command("AI.MODELGET", "d", "BLOB")
                    assert blob == torch_models.doubler()
    client.execute_command("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", 0)
    client.delete("d")
    assert _files(server) == [_name(torch_models.doubler())]


def test_copy_starts_with_counters_at_zero_and_rename_takes_them_along(client: redis.Redis) -> None:
    torch_models.store(client, "m", torch_models.doubler())
    torch_models.set_tensor(client, "x", 1.0, 2.0)
    torch_models.execute(client, "m", "x", "y")
    client.copy("m", "copy")
    client.rename("m", "renamed")
    assert run_info(client, "copy")[b"calls"] == 0
    assert run_info(client, "renamed")[b"calls"] == 1
    with pytest.raises(redis.ResponseError, match="cannot find run info for key"):
        client.execute_command("AI.INFO", "m")


def test_info_without_a_key_says_whose_commands_these_are(client: redis.Redis) -> None:
    answer = client.execute_command("AI.INFO")
    assert answer[:6:2] == [b"Version", b"Low level API Version", b"RDB Encoding version"]
    assert answer[1].startswith(b"1.2.")


@pytest.mark.parametrize("command", ["AI.INFO", "AI.MODELDEL", "AI.SCRIPTDEL"])
def test_what_reads_no_value_misses_none(client: redis.Redis, other: redis.Redis, command: str) -> None:
    """Like DEL and unlike GET: what is registered for keys that miss is not to run."""
    client.config_set("notify-keyspace-events", "Km")
    with other.pubsub() as heard:
        heard.psubscribe("__keyspace@0__:*")
        assert heard.get_message(timeout=10.0) is not None  # that it is subscribed
        with pytest.raises(redis.ResponseError, match="key"):
            client.execute_command(command, "nothing")
        client.get("end")
        message = heard.get_message(timeout=10.0)
        assert message is not None and message["channel"] == b"__keyspace@0__:end"


def test_the_list_of_models_follows_renames_moves_and_swaps(client: redis.Redis) -> None:
    for key in ("a", "b", "c"):
        _store(client, key, torch_models.doubler(), "TAG", key)
    client.rename("a", "renamed")
    client.move("b", 3)
    assert _listed(client) == {b"renamed": b"a", b"b": b"b", b"c": b"c"}
    client.execute_command("SWAPDB", 0, 5)
    assert _listed(client) == {b"renamed": b"a", b"b": b"b", b"c": b"c"}
    client.flushall()
    assert _listed(client) == {}


def test_a_model_can_be_stored_in_a_script_and_in_a_transaction(client: redis.Redis) -> None:
    client.config_set("keymiss.sync-timeout-ms", 60_000)  # the models worker has to start first
    blob = torch_models.doubler()
    script = "return redis.call('AI.MODELSTORE', KEYS[1], 'TORCH', 'CPU', 'BLOB', ARGV[1])"
    assert client.eval(script, 1, "m", blob) == b"OK"
    pipeline = client.pipeline(transaction=True)
    pipeline.execute_command("AI.MODELSTORE", "n", "TORCH", "CPU", "BLOB", blob)
    pipeline.execute_command("AI.MODELSTORE", "bad", "TORCH", "CPU", "BLOB", b"no model")
    stored, refused = pipeline.execute(raise_on_error=False)
    assert stored == b"OK" and isinstance(refused, redis.ResponseError)
    torch_models.set_tensor(client, "x", 1.5)
    for key in ("m", "n"):
        assert torch_models.execute(client, key, "x", "y") == b"OK"
    assert not client.exists("bad")


@pytest.mark.parametrize("command", ["AI.MODELSTORE", "AI.MODELSET"])
@pytest.mark.parametrize(
    "make", [("SET", "m", 1), ("RPUSH", "m", 1), ("AI.TENSORSET", "m", "INT8", 1)], ids=str
)
def test_a_model_is_not_stored_over_something_else(
    client: redis.Redis, command: str, make: tuple[object, ...]
) -> None:
    client.execute_command(*make)
    kind = client.type("m")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.execute_command(command, "m", "TORCH", "CPU", "BLOB", torch_models.doubler())
    assert client.type("m") == kind


@pytest.mark.parametrize("command", ["AI.MODELSTORE", "AI.MODELSET"])
def test_wrong_arguments_are_told_before_what_the_key_holds(client: redis.Redis, command: str) -> None:
    """As RedisAI did: it looked at the key last."""
    client.set("m", 1)
    for arguments, error in [
        ("NONE CPU BLOB b", "unsupported backend"),
        ("TORCH CPU BATCHSIZE a BLOB b", "Invalid argument for BATCHSIZE"),
        ("TORCH CPU TAG t BLOB", "Insufficient arguments, missing model BLOB"),
        ("TORCH", "wrong number of arguments"),
    ]:
        with pytest.raises(redis.ResponseError, match=error):
            client.execute_command(command, "m", *arguments.split())


def test_memory_usage_counts_the_mapped_bytes(client: redis.Redis) -> None:
    blob = torch_models.doubler()
    _store(client, "m", blob)
    assert len(blob) < client.execute_command("MEMORY", "USAGE", "m") < len(blob) + 1000


def test_a_large_model_that_comes_behind_something_larger(server: Server) -> None:
    """Its bytes lie in the buffer of the larger, which the server trims meanwhile: for the sanitizers."""
    with contextlib.closing(server.client(single_connection_client=True)) as client:
        client.set("larger", b"x" * 2 * len(torch_models.weighty()))
        torch_models.store(client, "model", torch_models.weighty())
        assert client.execute_command("AI.MODELGET", "model", "BLOB") == torch_models.weighty()


def test_the_blob_comes_in_chunks_of_the_setting(client: redis.Redis) -> None:
    blob = torch_models.doubler()
    _store(client, "m", blob)
    client.config_set("keymiss.model-chunk-size", len(blob) - 1)
    assert client.execute_command("AI.CONFIG", "GET", "MODEL_CHUNK_SIZE") == len(blob) - 1
    assert client.execute_command("AI.MODELGET", "m", "BLOB") == [blob[:-1], blob[-1:]]
    client.config_set("keymiss.model-chunk-size", len(blob))
    assert client.execute_command("AI.MODELGET", "m", "BLOB") == blob


def _listed(client: redis.Redis) -> dict[bytes, bytes]:
    return dict(client.execute_command("AI._MODELSCAN"))
