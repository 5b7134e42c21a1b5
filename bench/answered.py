"""What a run of questions saw, whoever answered them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .rounds import percentile


@dataclass(frozen=True)
class Answered:
    """One run. `latencies_ms` in the order in which the answers came; `answers`, where they were asked for,
    in that of the questions; `busy_s` is the processor time of whoever asked."""

    took_s: float
    latencies_ms: list[float]
    answers: list[str]
    busy_s: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies_ms) / self.took_s

    def latency_ms(self, percent: int) -> float:
        return percentile(self.latencies_ms, percent)


class Asking(NamedTuple):
    """How to ask: so many clients, each as soon as it has its answer (a closed loop), for so long; or with
    `rate` in a Poisson process of so many a second, whatever is answered (an open loop)."""

    seconds: float
    clients: int = 1
    rate: float = 0.0
