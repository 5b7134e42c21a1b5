"""Which models stay in memory where they do not all fit: pure bookkeeping, no I/O, no clock of its own.

A model is worth, for each byte, what it would cost to be without it: how often it is used, times the seconds
that it takes to bring back. Whoever is worth least goes next. So of models that cost the same the least used
goes, and mapped weights, which cost next to nothing to bring back, go before what has to be loaded. Uses are
forgotten by half every minute: what was wanted yesterday is not kept for that.

Against thrashing, a model stays for a few times as long as it took to bring it in, even where others have to
wait for that: so most of the time goes into runs, whatever is asked for.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

STAYS = 4  # times what it took to bring a model in: at most a fifth of the time goes into that
HALF_LIFE_S = 60.0  # of a use


@dataclass(slots=True)
class _Uses:
    """How often a model was used, earlier uses counting less."""

    count: float = 0.0
    at_s: float = 0.0

    def by(self, now_s: float) -> float:
        return float(self.count * 0.5 ** ((now_s - self.at_s) / HALF_LIFE_S))

    def add(self, now_s: float) -> None:
        self.count, self.at_s = self.by(now_s) + 1, now_s


@dataclass(slots=True)
class _Resident:
    size: int
    cost_s: float
    stays_until_s: float


class Residency(Generic[K]):
    """What is in memory, by key, and how much each key is used, in memory or not."""

    def __init__(self) -> None:
        self.bytes = 0
        self._resident: dict[K, _Resident] = {}
        self._uses: dict[K, _Uses] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._resident

    def use(self, key: K, now_s: float) -> None:
        """It is wanted now."""
        self._uses.setdefault(key, _Uses()).add(now_s)

    def enter(self, key: K, size: int, cost_s: float, now_s: float) -> None:
        """It is in memory now, takes `size` bytes, and it took `cost_s` to bring it in."""
        self.leave(key)
        self._resident[key] = _Resident(size, cost_s, now_s + STAYS * cost_s)
        self.bytes += size

    def resize(self, key: K, size: int, now_s: float) -> bool:
        """It takes `size` bytes now; whether that is new. It stays then as if it had just entered."""
        one = self._resident[key]
        if one.size == size:
            return False
        self.enter(key, size, one.cost_s, now_s)
        return True

    def leave(self, key: K) -> None:
        """It is not in memory any more, for whatever reason."""
        one = self._resident.pop(key, None)
        if one is not None:
            self.bytes -= one.size

    def forget(self, key: K) -> None:
        """It is not in memory, and will not be wanted again."""
        self.leave(key)
        self._uses.pop(key, None)

    def put_out(self, most: int, now_s: float) -> list[K]:
        """Let models go, those worth least first, until at most `most` bytes are left or all that are left
        have to stay. Returns which."""
        gone: list[K] = []
        free = [key for key, one in self._resident.items() if one.stays_until_s <= now_s]
        for key in sorted(free, key=lambda key: self._worth(key, now_s)):
            if self.bytes <= most:
                break
            self.leave(key)
            gone.append(key)
        return gone

    def _worth(self, key: K, now_s: float) -> float:
        one, uses = self._resident[key], self._uses.get(key, _Uses())
        return uses.by(now_s) * one.cost_s / max(one.size, 1)

    def wait_s(self, now_s: float) -> float:
        """How long until the next one may go; 0 where none has to stay."""
        return min((max(one.stays_until_s - now_s, 0.0) for one in self._resident.values()), default=0.0)
