"""What the shard tells of itself in INFO keymiss, for those who scrape its metrics.

At most one INFO is under way at a time, and none within FRESH_S of the last, however many scrape; who does
waits DEADLINE_S for it at most. A shard that answers late is believed by the next scrape.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from time import monotonic

from keymiss.channel import parse_reply
from keymiss.errors import KeymissError
from keymiss.functions.shard import Shard
from keymiss.metrics.info import fields_of, read
from keymiss.metrics.samples import Sample, sample

FRESH_S = 1.0
DEADLINE_S = 2.0


class ShardInfo:
    """Of one shard. Every thread but the loop's, which brings the answer."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._asker = ThreadPoolExecutor(1, "metrics-info")
        self._lock = threading.Lock()  # of the two below
        self._asking: Future[dict[str, str]] | None = None
        self._asked_s = 0.0

    def samples(self, name: str) -> Iterator[Sample]:
        """What the engine measures; `name` is the shard's."""
        try:
            fields = self._ask().result(DEADLINE_S)
        except (TooLate, KeymissError):  # its main thread is busy, or it is about to end
            yield sample("keymiss_shard_scraped", 0, name)
            return
        yield sample("keymiss_shard_scraped", 1, name)
        yield from read("engine", fields, name)

    def _ask(self) -> Future[dict[str, str]]:
        with self._lock:
            asking, now_s = self._asking, monotonic()
            if asking is None or (asking.done() and now_s - self._asked_s > FRESH_S):
                asking, self._asked_s = self._asker.submit(self._fields), now_s
                self._asking = asking
            return asking

    def _fields(self) -> dict[str, str]:
        reply = parse_reply(self._shard.call([b"INFO", b"keymiss"]))
        return fields_of(reply.decode("utf-8", "replace")) if isinstance(reply, bytes) else {}
