"""How many paragraphs have their tokens, and waiting for the rest. gears/tokenise.py makes them, in the
shards."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from ..client import Shard
from ..keys import SENTENCES_PREFIX, processed_key

SCAN_KEYS = 1000
POLL_S = 0.1
STALL_S = 20.0  # a paragraph takes a fraction of a millisecond


def wait_for_tokens(shards: list[Shard], progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Wait until every paragraph has its tokens, or until none has been added for STALL_S seconds.

    Tells `progress`, and returns, how many have them and how many there are. Redis's exceptions where a
    shard fails."""
    with ExitStack() as stack:
        clients = [(shard, stack.enter_context(closing(shard.connect()))) for shard in shards]
        total = 0
        for _, client in clients:
            for key in client.scan_iter(match=f"{SENTENCES_PREFIX}*", count=SCAN_KEYS, _type="hash"):
                total += int(client.hlen(key))
        done, changed = -1, time.monotonic()
        while True:
            now = sum(int(client.scard(processed_key(shard.hash_tag))) for shard, client in clients)
            if now != done:
                done, changed = now, time.monotonic()
                progress(done, total)
            if done >= total or time.monotonic() - changed > STALL_S:
                return done, total
            time.sleep(POLL_S)
