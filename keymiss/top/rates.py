"""Arithmetic on two values of a counter, or of a histogram. Pure; counters that begin anew are taken as
Prometheus takes them, so that a dashboard shows the same."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import add

from ..metrics.histogram import Distribution


def increase(before: float | None, after: float | None) -> float | None:
    """By how much a counter grew. One that is smaller than before began anew at 0. None where it was not
    read twice."""
    if before is None or after is None:
        return None
    return after if after < before else after - before


def growth(before: Distribution | None, after: Distribution | None) -> Distribution | None:
    """What was added to a histogram; all of it where it began anew. None where it was not read twice."""
    if before is None or after is None:
        return None
    if after.count < before.count:
        return after
    added = [max(0, now - then) for then, now in zip(before.buckets, after.buckets, strict=True)]
    return Distribution(after.bounds, added, after.sum - before.sum, after.max)


def merged(these: Iterable[Distribution | None]) -> Distribution | None:
    """All of them together; None where there is none."""
    there = [one for one in these if one is not None]
    return reduce(add, there) if there else None


def quantile(of: Distribution | None, share: float) -> float | None:
    """What `share` (0 to 1) of all do not exceed; None where there are none."""
    return of.quantile(share) if of is not None and of.count else None


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part / whole`; None where one is not known, or `whole` is 0."""
    return part / whole if part is not None and whole else None


def total(values: Iterable[float | None]) -> float | None:
    """The sum of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
