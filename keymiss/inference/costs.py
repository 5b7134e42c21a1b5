"""What passes cost: which models are quick, and how many rows make a token cheapest."""

from __future__ import annotations

from collections.abc import Hashable

from keymiss.channel import NEVER

_LATEST = 0.125  # weight of the latest pass in what a model costs
_MAX_KNOWN = 1024  # models whose cost is known
_AS_CHEAP = 1.05  # a larger batch has to be this much cheaper: everyone in it waits for all of it
_FORGOTTEN_AFTER = 256  # passes: what was measured under other load is measured again


class Costs:
    """Seconds of a pass, by model."""

    def __init__(self) -> None:
        self._of: dict[Hashable, float] = {}

    def learn(self, model: Hashable, cost_s: float) -> None:
        known_s = self._of.get(model, cost_s)
        if len(self._of) >= _MAX_KNOWN:
            self._of.clear()
        self._of[model] = known_s + _LATEST * (cost_s - known_s)

    def get(self, model: Hashable) -> float:
        """NEVER where it has not run."""
        return self._of.get(model, NEVER)


class RowCosts:
    """Seconds of one core for one token, by how many rows went through together: powers of two."""

    def __init__(self) -> None:
        self._of: dict[int, float] = {}
        self._passes = 0

    def learn(self, rows: int, tokens: int, core_s: float) -> None:
        """A pass over so many tokens, filling not counted."""
        size = 1 << (rows.bit_length() - 1)
        cost_s = core_s / tokens
        known_s = self._of.get(size, cost_s)
        self._of[size] = known_s + _LATEST * (cost_s - known_s)
        self._passes += 1
        if self._passes % _FORGOTTEN_AFTER == 0:
            self._of = {size: self._of[size]}

    def best(self, rows: int) -> int:
        """How many of the rows that wait to run together: the fewest that are as cheap as may be. What was
        never tried is, the most first."""
        sizes = [1 << n for n in range(rows.bit_length())]
        for size in reversed(sizes):
            if size not in self._of:
                return size
        cheapest_s = min(self._of[size] for size in sizes)
        return next(size for size in sizes if self._of[size] <= _AS_CHEAP * cheapest_s)
