"""What was measured, on its way from who measured it to /metrics or to INFO keymiss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from keymiss.metrics.definitions import METRICS
from keymiss.metrics.histogram import Distribution
from keymiss.metrics.metric import Metric

MAX_NAMES = 64  # values of a label that users choose: functions, models
OTHER = "other"  # what the others are counted as together


class Sample(NamedTuple):
    """One value of a metric; `labels` in the metric's order."""

    metric: Metric
    labels: tuple[str, ...]
    value: float | Distribution


# Gives what it measures. For any thread; it may raise: what others measure is then told all the same.
Source: TypeAlias = Callable[[], Iterable[Sample]]


def sample(name: str, value: float | Distribution, *labels: str) -> Sample:
    """A value of the metric of that name."""
    return Sample(METRICS[name], labels, value)


class Bounded:
    """At most MAX_NAMES names; any further one is OTHER."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        if name not in self._known:
            if len(self._known) >= MAX_NAMES:
                return OTHER
            self._known.add(name)
        return name
