"""Interleaved rounds: every variant is measured in every round, in an order that turns, so that a slow minute
of the machine hurts them all alike. For the same reason ratios are taken within a round."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from .progress import Progress

N = TypeVar("N", bound=Hashable)
S = TypeVar("S")


def interleave(
    variants: Mapping[N, Callable[[], S]], rounds: int, progress: Progress | None = None
) -> dict[N, list[S]]:
    """Name -> its sample of each round; each round starts with the next variant."""
    names = list(variants)
    samples: dict[N, list[S]] = {name: [] for name in names}
    for n in range(rounds):
        first = n % len(names)
        for name in names[first:] + names[:first]:
            if progress is not None:
                progress.step(str(name))
            samples[name].append(variants[name]())
    return samples


def median_ratio(values: Sequence[float], baseline: Sequence[float]) -> float:
    """The median over rounds of value / baseline of the same round."""
    return median(value / base for value, base in zip(values, baseline, strict=True))


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` per cent of them do not exceed. ValueError where there are none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
