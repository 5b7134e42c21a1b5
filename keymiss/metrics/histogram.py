"""Histograms of plain numbers, for hot paths: one addition costs a few hundred nanoseconds.

The GIL makes each addition whole (CPython switches threads at calls and at the ends of loops only), so one
thread may add while another takes a snapshot. Several that add hold a lock, or bear to lose one now and then.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from keymiss.metrics.metric import BATCH_BOUNDS, SECONDS_BOUNDS

SECONDS = tuple(SECONDS_BOUNDS.values())
REQUESTS = tuple(BATCH_BOUNDS.values())


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram held. `buckets[n]` counts values of at most `bounds[n]` that fit no smaller one; the
    last bucket has no bound."""

    bounds: Sequence[float]
    buckets: Sequence[int]
    sum: float
    max: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def cumulative(self) -> list[int]:
        """How many values are at most each bound, and how many there are."""
        return list(accumulate(self.buckets))

    def quantile(self, q: float) -> float:
        """About the value that the share `q` of all does not exceed: even within a bucket. 0 without any."""
        wanted, below, start = q * self.count, 0, 0.0
        for bound, here in zip((*self.bounds, self.max), self.buckets, strict=True):
            end = min(bound, self.max)
            if here and below + here >= wanted:
                return start + max(end - start, 0.0) * (wanted - below) / here
            below, start = below + here, end
        return self.max

    def __add__(self, other: Distribution) -> Distribution:
        """Both together; they have the same bounds."""
        buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]
        return Distribution(self.bounds, buckets, self.sum + other.sum, max(self.max, other.max))


class Histogram:
    """Of seconds, unless told other bounds."""

    __slots__ = ("bounds", "buckets", "max", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.max = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self.buckets[bisect_left(self.bounds, value)] += times
        self.sum += value * times
        if value > self.max:
            self.max = value

    def snapshot(self) -> Distribution:
        """As it is now. Every thread."""
        return Distribution(self.bounds, tuple(self.buckets), self.sum, self.max)
