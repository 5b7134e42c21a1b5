"""Models stored by the digest of bytes that the host has; so are replicas and the append-only file told of
bytes that they have."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from support import torch_models
from support.server import Server
from support.waiting import wait_until


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _store(client: redis.Redis, key: str, *more: object) -> None:
    assert client.execute_command("AI.MODELSTORE", key, "TORCH", "CPU", *more) == b"OK"


def _blob(client: redis.Redis, key: str) -> bytes:
    return bytes(client.execute_command("AI.MODELGET", key, "BLOB"))


def test_a_digest_is_enough_where_a_key_has_the_bytes(client: redis.Redis) -> None:
    blob = torch_models.doubler()
    _store(client, "one", "BLOB", blob)
    _store(client, "two", "TAG", "other", "BATCHSIZE", 4, "DIGEST", _digest(blob))
    assert _blob(client, "two") == blob
    torch_models.set_tensor(client, "x", 1.5)
    client.delete("one")
    assert torch_models.execute(client, "two", "x", "y") == b"OK"


def test_a_digest_that_no_key_has_is_refused(client: redis.Redis) -> None:
    blob = torch_models.doubler()
    _store(client, "one", "BLOB", blob)
    client.delete("one")
    # A thread of Valkey's frees it.
    wait_until(lambda: client.info("keymiss")["keymiss_models"] == 0, 10.0, "it is gone")
    for unknown in (_digest(blob), "0" * 64):
        with pytest.raises(redis.ResponseError, match="no model with this DIGEST is on this host"):
            _store(client, "two", "DIGEST", unknown)
    assert not client.exists("two")


@pytest.mark.parametrize("given", [(), ("",), ("0" * 63,), ("A" * 64,), ("../" + "0" * 61,), ("0" * 64, "x")])
def test_what_is_no_digest_is_refused(client: redis.Redis, given: tuple[str, ...]) -> None:
    with pytest.raises(redis.ResponseError, match=r"Invalid argument for DIGEST|wrong number of arguments"):
        _store(client, "m", "DIGEST", *given)


def test_large_models_are_hashed_and_written_beside_the_main_thread(
    server: Server, client: redis.Redis
) -> None:
    with pytest.raises(redis.ResponseError, match="no TorchScript archive"):
        _store(client, "m", "BLOB", b"\0" * (2 << 20))
    threads = Path(f"/proc/{server.pid}/task").glob("*/comm")
    assert "keymiss\n" in [name.read_text() for name in threads]


def test_a_client_that_leaves_while_its_model_is_hashed_harms_nobody(
    server: Server, client: redis.Redis
) -> None:
    leaver = server.client()
    leaver.connection_pool.get_connection().send_command(
        "AI.MODELSTORE", "m", "TORCH", "CPU", "BLOB", b"\1" * (8 << 20)
    )
    leaver.close()
    _store(client, "n", "BLOB", torch_models.doubler())
    assert _blob(client, "n") == torch_models.doubler()


def test_the_append_only_file_is_told_bytes_once(
    make_server: Callable[..., Server], host_models: dict[str, object]
) -> None:
    server = make_server(settings={**host_models, "appendonly": "yes", "appendfsync": "always"})
    blob = torch_models.doubler()

    def written() -> int:
        return sum(path.stat().st_size for path in (server.folder / "appendonlydir").glob("*.incr.aof"))

    with contextlib.closing(server.client()) as client:
        _store(client, "one", "BLOB", blob)
        first = written()
        assert first > len(blob)
        client.copy("one", "copy")
        _store(client, "two", "BLOB", blob)
        _store(client, "one", "TAG", "again", "BLOB", blob)
        _store(client, "three", "DIGEST", _digest(blob))
        assert written() - first < len(blob)
        client.delete("one", "two", "copy")
        _store(client, "four", "DIGEST", _digest(blob))
        client.delete("three", "four")
        _store(client, "five", "BLOB", blob)  # no key had them
        assert written() > 2 * len(blob)
    server.kill()
    server.start()
    with contextlib.closing(server.client()) as client:
        assert client.keys() == [b"five"]
        assert _blob(client, "five") == blob


def test_a_replica_has_models_that_it_was_told_by_digest(replicated: tuple[Server, Server]) -> None:
    primary, replica = replicated
    blob = torch_models.doubler()
    with contextlib.closing(primary.client()) as client, contextlib.closing(replica.client()) as copy:
        _store(client, "one", "BLOB", blob)
        _store(client, "two", "BLOB", blob)
        client.delete("one")
        _store(client, "three", "DIGEST", _digest(blob))
        client.delete("two")
        wait_until(lambda: copy.keys() == [b"three"], 10.0, "the replica follows")
        assert _blob(copy, "three") == blob


def test_another_shard_with_the_same_folder_takes_a_digest_and_persists_the_bytes(
    make_server: Callable[..., Server], host_models: dict[str, object], tmp_path: Path
) -> None:
    shared = {**host_models, "keymiss.models-dir": tmp_path / "models", "appendonly": "yes"}
    one, two = (make_server(settings=shared) for _ in range(2))
    blob = torch_models.doubler()
    with contextlib.closing(one.client()) as first, contextlib.closing(two.client()) as second:
        _store(first, "m", "BLOB", blob)
        _store(second, "m", "DIGEST", _digest(blob))
        first.delete("m")
        assert _blob(second, "m") == blob
    two.restart()
    with contextlib.closing(two.client()) as second:
        assert _blob(second, "m") == blob
