"""Where the shards of a cluster are learned."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis
from support.cluster import Cluster
from support.server import Server

from keymiss.client import Address, find_shards

TIMEOUT_S = 5.0


def test_a_server_that_is_down_or_knows_of_no_shard_is_passed_over(
    cluster: Cluster, make_server: Callable[..., Server]
) -> None:
    gone, bare = (make_server(settings=cluster.settings) for _ in range(2))
    gone.kill()
    down, empty, good = (Address(port=server.port) for server in (gone, bare, cluster.masters[0]))
    assert len(find_shards([down, empty, good], TIMEOUT_S)) == len(cluster.masters)
    assert find_shards([down, empty], TIMEOUT_S) == []
    with pytest.raises(redis.ConnectionError):
        find_shards([down], TIMEOUT_S)
