"""Pi by throwing darts on all shards at once.

redis-cli RG.PYEXECUTE "$(cat monte_carlo_pi.py)"
"""

from random import random

from redisgears import GB

DARTS = 200_000  # of each shard


def throw(shard):
    """Throw darts at a square: how many hit the quarter of a circle in it, and how many there were."""
    return sum(random() ** 2 + random() ** 2 < 1 for _ in range(DARTS)), DARTS


def add(total, thrown):
    return total[0] + thrown[0], total[1] + thrown[1]


(GB("ShardsIDReader").map(throw).aggregate((0, 0), add, add).map(lambda total: 4 * total[0] / total[1]).run())
