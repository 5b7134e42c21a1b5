"""Whose turn it is among the shards that want the same model.

Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): a request's turn is where its shard has come
to with what it has asked for so far, in tokens or rows, but not before what is served now. Requests are
served in the order of their turns: a shard that asks a thousand questions at once does not keep another
one's waiting. Alone, a shard is served in the order in which it asks. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable


class Turns:
    """Of one model."""

    def __init__(self) -> None:
        self._now = 0.0  # the turn that was served last
        self._ends: dict[Hashable, float] = {}  # of each shard: where its requests so far end

    def give(self, shard: Hashable, cost: float) -> float:
        """The turn of a new request of that cost."""
        turn = max(self._now, self._ends.get(shard, 0.0))
        self._ends[shard] = turn + cost
        return turn

    def take_back(self, shard: Hashable, cost: float) -> None:
        """A request of that cost was cancelled."""
        self._ends[shard] -= cost

    def served(self, turn: float) -> None:
        self._now = max(self._now, turn)
