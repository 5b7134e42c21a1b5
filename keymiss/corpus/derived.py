"""What shards make of paragraphs, and forgetting it when a paragraph or the model is another one: tokens,
cached answers."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

import redis

from ..keys import QUESTION_PREFIX, SCORE_PREFIX, TOKENS_PREFIX, processed_key

SCAN_KEYS = 1000  # looked at in one step, and removed at once
_GLOB = str.maketrans({letter: f"\\{letter}" for letter in "*?[]\\"})


def forget_answers(client: redis.Redis, tag: str, articles: Collection[str] | None = None) -> None:
    """Drop the cached answers of the shard of `tag` with their scores, or only those about these articles."""
    for start in (f"{QUESTION_PREFIX}{{{tag}}}_", f"{SCORE_PREFIX}{QUESTION_PREFIX}{{{tag}}}_"):
        starts = [start] if articles is None else [f"{start}{article}:{{{tag}}}:" for article in articles]
        _forget(client, start, tuple(text.encode() for text in starts))


def forget_tokens(client: redis.Redis, tag: str) -> None:
    """Drop the tokens of every paragraph of the shard, so that they are made anew."""
    client.unlink(processed_key(tag))
    _forget(client, TOKENS_PREFIX, (TOKENS_PREFIX.encode(),))


def _forget(client: redis.Redis, prefix: str, starts: tuple[bytes, ...]) -> None:
    keys = client.scan_iter(match=prefix.translate(_GLOB) + "*", count=SCAN_KEYS)
    doomed = (key for key in keys if key.startswith(starts))
    while batch := list(islice(doomed, SCAN_KEYS)):
        pipeline = client.pipeline(transaction=False)  # not one UNLINK: a cluster may hold keys of other tags
        for key in batch:
            pipeline.unlink(key)
        pipeline.execute()
