"""The ledger: when each registration was last changed, and which are gone. Pure.

Every shard of a cluster keeps one. Two that are equal know the same registrations; where they differ, the
later change of an id is the right one, so shards that compare their ledgers in any order come to the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from hashlib import sha256

from keymiss.functions.deployed import Change

MOST_GONE = 1000  # what a shard missed while it was away; the oldest are forgotten


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class Ledger:
    """For every thread."""

    def __init__(self, now_ms: Callable[[], int] = _now_ms) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._latest_ms = 0
        self._changed: dict[str, Change] = {}
        self._gone: dict[str, bytes] = {}

    def next_change(self, node: str) -> Change:
        """A change made here and now: later than all that are known, whatever the clocks say."""
        with self._lock:
            self._latest_ms = max(self._now_ms(), self._latest_ms + 1)
            return self._latest_ms, node

    def note(self, name: str, changed: Change, gone: bytes | None = None) -> list[str]:
        """A registration is as of this change, or `gone`, which is its blob then.

        The ids of those gone that are forgotten for it.
        """
        with self._lock:
            self._latest_ms = max(self._latest_ms, changed[0])
            self._changed[name] = changed
            self._gone.pop(name, None)
            if gone is not None:
                self._gone[name] = gone
            surplus = len(self._gone) - MOST_GONE
            oldest = sorted(self._gone, key=lambda other: self._changed[other])[: max(0, surplus)]
            for other in oldest:
                del self._gone[other], self._changed[other]
            return oldest

    def forget(self, name: str) -> None:
        """As if it had never been."""
        with self._lock:
            self._changed.pop(name, None)
            self._gone.pop(name, None)

    def knows(self, name: str, changed: Change) -> bool:
        """This change, or a later one, was noted."""
        with self._lock:
            known = self._changed.get(name)
            return known is not None and known >= changed

    def gone(self, name: str) -> bytes | None:
        """The blob of one that is gone."""
        return self._gone.get(name)

    def changes(self) -> dict[str, Change]:
        """The last change of each."""
        with self._lock:
            return dict(self._changed)

    def digest(self) -> bytes:
        """The same for two ledgers that are equal, and for no others; empty where nothing was noted."""
        changes = self.changes()
        if not changes:
            return b""
        lines = "\n".join(f"{name} {changed}" for name, changed in sorted(changes.items()))
        return sha256(lines.encode()).digest()


def later(changes: dict[str, Change], than: dict[str, Change]) -> list[str]:
    """The ids whose last change `than` does not know."""
    return [name for name, changed in changes.items() if name not in than or than[name] < changed]
