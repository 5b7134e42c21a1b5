"""How many paragraphs have their tokens, and waiting for the rest. gears/tokenise.py makes them, in the
shards."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import redis

from ..client import Shard
from ..keys import processed_key, sentences_key, tokenizer_key

SCAN_KEYS = 1000
POLL_S = 0.1
STALL_S = 20.0  # a paragraph takes a fraction of a millisecond


def wait_for_tokens(shards: list[Shard], progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Wait until every paragraph has its tokens, or until none has been added for STALL_S seconds.

    Tells `progress`, and returns, how many have them and how many there are. Redis's exceptions where a
    shard fails."""
    with ExitStack() as stack:
        clients = [(shard, stack.enter_context(closing(shard.connect()))) for shard in shards]
        total = sum(count_paragraphs(client, shard.hash_tag) for shard, client in clients)
        done, changed = -1, time.monotonic()
        while True:
            now = sum(count_tokens(client, shard.hash_tag) for shard, client in clients)
            if now != done:
                done, changed = now, time.monotonic()
                progress(done, total)
            if done >= total or time.monotonic() - changed > STALL_S:
                return done, total
            time.sleep(POLL_S)


def lacks_model(shard: Shard) -> bool:
    """Whether it has paragraphs, and no tokenizer that makes tokens of them. Redis's exceptions."""
    with closing(shard.connect()) as client:
        has = client.exists(tokenizer_key(shard.hash_tag))
        return not has and count_paragraphs(client, shard.hash_tag) > 0


def count_paragraphs(client: redis.Redis, hash_tag: str) -> int:
    """How many the shard of that tag has. Redis's exceptions."""
    articles = client.scan_iter(match=sentences_key("?*", hash_tag), count=SCAN_KEYS, _type="hash")
    return sum(int(client.hlen(article)) for article in articles)


def count_tokens(client: redis.Redis, hash_tag: str) -> int:
    """How many paragraphs of the shard of that tag have their tokens. Redis's exceptions."""
    return int(client.scard(processed_key(hash_tag)))
