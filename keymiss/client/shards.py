"""The shards of a cluster, as one of its servers sees them. A standalone server is one shard with every
slot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..hashtags import SLOTS, hash_tag_of
from .where import Address, credentials

CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Shard:
    """A master with the slot ranges (first, last) that it serves, and its replicas' addresses."""

    host: str
    port: int
    node_id: str
    slots: tuple[tuple[int, int], ...]
    replicas: tuple[tuple[str, int], ...] = field(default=())

    @property
    def hash_tag(self) -> str:
        """Its slot is the shard's first: `name{hash_tag}` is a key of this shard."""
        return hash_tag_of(self.slots[0][0])

    def connect(self, timeout_s: float = 30.0) -> redis.Redis:
        """A connection to the master. Replies longer in coming than `timeout_s` seconds raise
        redis.TimeoutError."""
        return connect(self.host, self.port, timeout_s)


def connect(host: str, port: int, timeout_s: float = 30.0) -> redis.Redis:
    """A RESP2 connection with deadlines and no retries of its own, of the user that the environment names;
    replies are bytes."""
    return redis.Redis(
        host=host,
        port=port,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        **credentials(),
    )


def read_shards(client: redis.Redis) -> list[Shard]:
    """The shards that serve slots, ordered by their first slot. Redis's own exceptions where the server
    does not answer."""
    address = client.connection_pool.connection_kwargs
    host, port = str(address["host"]), int(address["port"])
    if not int(client.info("cluster")["cluster_enabled"]):
        return [Shard(host, port, "0" * 40, ((0, SLOTS - 1),))]
    ranges: dict[str, list[tuple[int, int]]] = {}
    nodes: dict[str, tuple[Any, list[Any]]] = {}
    for first, last, master, *replicas in client.execute_command("CLUSTER", "SLOTS"):
        node_id = text_of(master[2])
        ranges.setdefault(node_id, []).append((int(first), int(last)))
        nodes[node_id] = (master, replicas)
    shards = [
        Shard(
            *_address(master, host),
            node_id,
            tuple(sorted(ranges[node_id])),
            tuple(_address(r, host) for r in replicas),
        )
        for node_id, (master, replicas) in nodes.items()
    ]
    return sorted(shards, key=lambda shard: shard.slots)


def find_shards(servers: Iterable[Address], timeout_s: float = 30.0) -> list[Shard]:
    """The shards, as the first of these servers sees them that knows of any: one that lost its data does
    not. None where no server that answers does; the exception of the last one where none answers."""
    error: redis.RedisError | None = redis.ConnectionError("there is no server to ask")
    for server in servers:
        with closing(connect(server.host, server.port, timeout_s)) as client:
            try:
                shards = read_shards(client)
            except (redis.ConnectionError, redis.TimeoutError) as raised:
                error = error and raised
                continue
        if shards:
            return shards
        error = None
    if error is not None:
        raise error
    return []


def shard_of(slot: int, shards: Sequence[Shard]) -> Shard:
    """The shard that serves `slot`. redis.RedisError where none does."""
    for shard in shards:
        if any(first <= slot <= last for first, last in shard.slots):
            return shard
    raise redis.RedisError(f"no shard serves slot {slot}: the cluster is not whole")


def text_of(reply: Any) -> str:
    """A reply as text: bytes that are not UTF-8 are replaced, numbers written out."""
    return reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)


def _address(node: Any, asked: str) -> tuple[str, int]:
    """A node's address; a node that does not know its own yet is at the address that was asked."""
    return (text_of(node[0]) if node[0] else asked, int(node[1]))
