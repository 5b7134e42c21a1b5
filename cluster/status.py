"""What a cluster looks like now, as one JSON-like value; docs/cluster.md lists its fields."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import redis

from keymiss.client import Shard, connect, read_shards

from . import processes
from .layout import Layout

TIMEOUT_S = 5.0


def read_status(layout: Layout | None, port: int | None) -> dict[str, Any]:
    """The state of the cluster of `layout`, or of the one that the server on `port` belongs to.

    Servers that do not answer are listed as such. redis.ConnectionError where there is no layout and none
    answers."""
    candidates = [port] if port is not None else [node.port for node in layout.nodes] if layout else []
    map_of_shards = _first_map(candidates)
    if map_of_shards is None and layout is None:
        raise redis.ConnectionError(f"no server answers on port {port}")
    shards = [server for shard in map_of_shards or [] for server in _servers(shard)]
    if layout is not None:
        _add_processes(shards, layout)
    found: dict[str, Any] = {
        "folder": str(layout.folder) if layout else None,
        "port": layout.port if layout else port,
        "complete": bool(shards) and all(server["answers"] for server in shards),
        "server": next((server["version"] for server in shards if server["version"]), None),
        "shards": shards,
    }
    return found


def _first_map(ports: Sequence[int]) -> list[Shard] | None:
    """The slot map as the first server that answers sees it."""
    for port in ports:
        with closing(connect("127.0.0.1", port, TIMEOUT_S)) as client:
            try:
                return read_shards(client)
            except redis.ConnectionError:
                continue
    return None


def _servers(shard: Shard) -> list[dict[str, Any]]:
    """The shard's master and replicas, each with what its slots' hash tag is."""
    servers = []
    for host, port in ((shard.host, shard.port), *shard.replicas):
        server: dict[str, Any] = {
            "host": host,
            "port": port,
            "role": "master" if port == shard.port else "replica",
            "hash_tag": shard.hash_tag,
            "slots": [list(slots) for slots in shard.slots],
            "answers": False,
            "version": None,
            "keys": None,
        }
        with closing(connect(host, port, TIMEOUT_S)) as client:
            try:
                info = client.info("server")
                server["version"] = _version(info)
                server["keys"] = client.dbsize()
                server["answers"] = True
            except redis.RedisError as error:
                server["error"] = str(error)
        servers.append(server)
    return servers


def _version(info: dict[str, Any]) -> str:
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info['redis_version']}"


def _add_processes(shards: list[dict[str, Any]], layout: Layout) -> None:
    """Names, pids and logs of this host's servers; those that are in no slot map are added."""
    by_port = {server["port"]: server for server in shards}
    for node in layout.nodes:
        server = by_port.get(node.port)
        if server is None:
            server = {
                "host": "127.0.0.1",
                "port": node.port,
                "role": None,
                "hash_tag": None,
                "slots": [],
                "answers": False,
            }
            server |= {"version": None, "keys": None}
            shards.append(server)
        server |= {"name": node.name, "pid": processes.running_pid(node.pid_file), "log": str(node.log)}
