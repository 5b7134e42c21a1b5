"""An exported model, stored on every shard under bert-qa{tag}, with its tokenizer beside it.

The model's TAG names its digest, so that storing the same one again is noticed and skipped. A shard whose
host has the bytes already is told their digest alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import redis

from keymiss.client import Shard
from keymiss.keys import model_key, tokenizer_key

from .export import Exported
from .forms import FORMS

CHUNK_BYTES = 512 << 20  # of one argument: what a server takes (proto-max-bulk-len)
DEADLINE_S = 600.0  # for one shard: a large model has to be sent, written and loaded
BATCHSIZE = 16  # questions that wait run together; larger batches are no cheaper for each
_DIGEST_CHARACTERS = 16  # of the SHA-256 in the tag


@dataclass(frozen=True)
class Stored:
    """What happened on one shard."""

    shard: Shard
    key: str
    changed: bool  # False: it held the same model and tokenizer already
    stale: bool  # it may have tokens and answers that were made with another one: see `renewed`


def store(
    shards: Iterable[Shard],
    exported: Exported,
    form: str = "torchscript",
    name: str = "model",
    device: str = "CPU",
) -> Iterator[Stored]:
    """Store the model on one shard after the other; `name` becomes part of its tag. redis's own exceptions
    where a shard does not answer or refuses the model."""
    file = exported.model(form)
    digest = _sha256(file)
    backend = FORMS[form].backend
    tag = f"{name}@{digest[:_DIGEST_CHARACTERS]}"
    for shard in shards:
        with closing(shard.connect(DEADLINE_S)) as client:
            key = model_key(shard.hash_tag)
            beside = tokenizer_key(shard.hash_tag)
            new_tokenizer = _store_tokenizer(client, beside, exported.tokenizer)
            new_model = not _holds(client, key, (backend, device, tag, BATCHSIZE))
            if new_model:
                client.hset(beside, "stale", 1)  # first: what comes after it may be interrupted
                _store_model(
                    client, (key, backend, device, "TAG", tag, "BATCHSIZE", str(BATCHSIZE)), file, digest
                )
            stale = bool(client.hexists(beside, "stale"))
            if stale:
                client.hincrby(beside, "stored", 1)  # answers that are on their way are of another one
            yield Stored(shard, key, new_model or new_tokenizer, stale)


def renewed(client: redis.Redis, tag: str) -> None:
    """Note that the shard of `tag` has no tokens and answers any more that were made with another model."""
    client.hdel(tokenizer_key(tag), "stale")


def _holds(client: redis.Redis, key: str, wanted: tuple[str, str, str, int]) -> bool:
    """Whether the key holds a model of this backend, device, tag and batch size."""
    try:
        reply = client.execute_command("AI.MODELGET", key, "META")
    except redis.ResponseError:
        return False  # there is none, or something else that AI.MODELSTORE will refuse to overwrite
    meta = dict(zip(reply[::2], reply[1::2], strict=True))
    named = [meta[field].decode() for field in (b"backend", b"device", b"tag")]
    return (*named, meta[b"batchsize"]) == wanted


def _store_model(client: redis.Redis, options: tuple[str, ...], file: Path, digest: str) -> None:
    try:
        client.execute_command("AI.MODELSTORE", *options, "DIGEST", digest)
    except redis.ResponseError:  # the bytes are not there, or what is wrong with the rest is said again
        client.execute_command("AI.MODELSTORE", *options, "BLOB", *_chunks(file))


def _store_tokenizer(client: redis.Redis, key: str, file: Path) -> bool:
    """Store the tokenizer; False where the same one is there."""
    digest = _sha256(file)
    if client.hget(key, "digest") == digest.encode():
        return False
    client.hset(key, mapping={"json": file.read_bytes(), "digest": digest, "stale": 1})
    return True


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield chunk


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
