"""A model stored on a shard: once, with its tokenizer, and again only when it is another."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from inference import small_models
from keymiss_deploy.models.export import Exported
from keymiss_deploy.models.load import renewed, store
from support.server import Server

from keymiss.client import read_shards
from keymiss.keys import model_key, tokenizer_key


@pytest.fixture
def files(tmp_path: Path) -> Exported:
    """What an export leaves: the store does not look into it."""
    small_models.write(small_models.Linear(), tmp_path / "model.pt")
    (tmp_path / "tokenizer.json").write_text("{}")
    return Exported(tmp_path)


def changed(client: redis.Redis, files: Exported) -> list[bool]:
    return [stored.changed for stored in store(read_shards(client), files, name="small")]


def test_it_is_stored_under_the_shards_hash_tag(server: Server, client: redis.Redis, files: Exported) -> None:
    (shard,) = read_shards(client)
    assert changed(client, files) == [True]
    meta = client.execute_command("AI.MODELGET", model_key(shard.hash_tag), "META")
    assert meta[:4] == [b"backend", b"TORCH", b"device", b"CPU"]
    assert meta[5].startswith(b"small@")
    assert client.hget(tokenizer_key(shard.hash_tag), "json") == b"{}"


def test_the_same_one_is_not_stored_again(server: Server, client: redis.Redis, files: Exported) -> None:
    changed(client, files)
    assert changed(client, files) == [False]


def test_another_model_or_tokenizer_is_stored(server: Server, client: redis.Redis, files: Exported) -> None:
    changed(client, files)
    small_models.write(small_models.Sum(), files.model("torchscript"))
    assert changed(client, files) == [True]
    files.tokenizer.write_text('{"version": "1.0"}')
    assert changed(client, files) == [True]


def test_what_is_stored_is_counted_for_answers_that_are_on_their_way(
    server: Server, client: redis.Redis, files: Exported
) -> None:
    (shard,) = read_shards(client)
    for _ in range(2):
        changed(client, files)
        renewed(client, shard.hash_tag)
    assert client.hget(tokenizer_key(shard.hash_tag), "stored") == b"1"
    small_models.write(small_models.Sum(), files.model("torchscript"))
    changed(client, files)
    assert client.hget(tokenizer_key(shard.hash_tag), "stored") == b"2"


def test_what_an_interrupted_command_did_not_forget_is_forgotten_by_the_next(
    server: Server, client: redis.Redis, files: Exported
) -> None:
    (shard,) = read_shards(client)
    changed(client, files)
    (again,) = store([shard], files, name="small")
    assert (again.changed, again.stale) == (False, True)
    renewed(client, shard.hash_tag)
    (again,) = store([shard], files, name="small")
    assert (again.changed, again.stale) == (False, False)


def test_a_model_that_the_server_refuses_is_an_error(
    server: Server, client: redis.Redis, files: Exported
) -> None:
    files.model("torchscript").write_bytes(b"no model")
    with pytest.raises(redis.ResponseError, match="no TorchScript archive"):
        changed(client, files)
