"""How long a benchmark takes, and how much of it is measured."""

from __future__ import annotations

from dataclasses import dataclass

ROUNDS, SECONDS = 7, 2.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.2


@dataclass(frozen=True)
class Effort:
    """In each round every variant runs for so many seconds. `quick`: only to see that all works, of whatever
    there is much, a little."""

    quick: bool
    rounds: int
    seconds: float


def effort(quick: bool, rounds: int = ROUNDS, seconds: float = SECONDS) -> Effort:
    """As long as is told, unless it is to be quick."""
    return Effort(True, QUICK_ROUNDS, QUICK_SECONDS) if quick else Effort(False, rounds, seconds)
