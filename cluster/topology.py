"""Servers become a cluster: slots given out, nodes introduced, replicas attached.

Every step looks first and does only what is missing, so that a formation that was interrupted goes on where
it stopped and a cluster that is whole is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

import redis

from keymiss.client import connect
from keymiss.hashtags import SLOTS

from .layout import Layout

POLL_S = 0.05
COMMAND_TIMEOUT_S = 5.0


class NotFormed(Exception):
    """The servers run but did not become a cluster in time; the text says what is missing."""


def form(layout: Layout, deadline_s: float) -> None:
    """Make one cluster of the servers of `layout`, all of which run; returns when each of them sees it whole.

    NotFormed after `deadline_s` seconds."""
    deadline = time.monotonic() + deadline_s
    with ExitStack() as stack:
        clients = {
            node.port: stack.enter_context(closing(connect("127.0.0.1", node.port, COMMAND_TIMEOUT_S)))
            for node in layout.nodes
        }
        for node in layout.nodes:
            _wait(deadline, partial(_answers, clients[node.port]), f"{node.name} does not answer")
        _give_slots(layout, clients)
        _introduce(layout, clients, deadline)
        _attach_replicas(layout, clients, deadline)
        for node in layout.nodes:
            _wait(
                deadline,
                partial(_is_whole, layout, clients[node.port]),
                f"{node.name} does not see a whole cluster",
            )


def _give_slots(layout: Layout, clients: dict[int, redis.Redis]) -> None:
    given: set[int] = set()
    for client in clients.values():
        given |= _first_slots(client)
    for shard, master in enumerate(layout.nodes[: layout.shards]):
        first, last = layout.slots_of(shard)
        client = clients[master.port]
        if first in given:
            continue
        if _cluster_info(client)["cluster_current_epoch"] == "0":
            client.execute_command(
                "CLUSTER", "SET-CONFIG-EPOCH", shard + 1
            )  # no two masters start with the same
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)


def _introduce(layout: Layout, clients: dict[int, redis.Redis], deadline: float) -> None:
    ids = {port: _my_id(client) for port, client in clients.items()}
    first = clients[layout.port]
    for node in layout.nodes:
        if ids[node.port] not in _known_ids(first):
            first.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
    for node in layout.nodes:
        _wait(
            deadline,
            partial(_knows, clients[node.port], set(ids.values())),
            f"{node.name} has not met the others",
        )


def _attach_replicas(layout: Layout, clients: dict[int, redis.Redis], deadline: float) -> None:
    first = clients[layout.port]
    for shard, master in enumerate(layout.nodes[: layout.shards]):
        for node in layout.nodes:
            client = clients[node.port]
            if node.replica_of == master.port and _is_empty_master(client):
                owner = _owner(first, layout.slots_of(shard)[0])
                client.execute_command("CLUSTER", "REPLICATE", owner)
    for node in layout.nodes:
        _wait(
            deadline,
            partial(_is_synced, clients[node.port]),
            f"{node.name} has not caught up with its master",
        )


def _wait(deadline: float, condition: Callable[[], bool], complaint: str) -> None:
    while not condition():
        if time.monotonic() > deadline:
            raise NotFormed(complaint)
        time.sleep(POLL_S)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.BusyLoadingError):
        return False


def _cluster_info(client: redis.Redis) -> dict[str, str]:
    text = client.execute_command("CLUSTER", "INFO").decode()
    return dict(line.split(":", 1) for line in text.split() if ":" in line)


def _node_lines(client: redis.Redis) -> list[list[str]]:
    """CLUSTER NODES, split: id, address, flags, master, ping, pong, epoch, link, slots..."""
    return [line.split() for line in client.execute_command("CLUSTER", "NODES").decode().splitlines()]


def _known_ids(client: redis.Redis) -> set[str]:
    return {line[0] for line in _node_lines(client) if "handshake" not in line[2]}


def _knows(client: redis.Redis, ids: set[str]) -> bool:
    return ids <= _known_ids(client)


def _first_slots(client: redis.Redis) -> set[int]:
    """The slots that start a range which some node serves."""
    return {int(entry[0]) for entry in client.execute_command("CLUSTER", "SLOTS")}


def _owner(client: redis.Redis, slot: int) -> str:
    for first, last, master, *_ in client.execute_command("CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return str(master[2].decode())
    raise NotFormed(f"nobody serves slot {slot}")


def _my_id(client: redis.Redis) -> str:
    return str(client.execute_command("CLUSTER", "MYID").decode())


def _is_empty_master(client: redis.Redis) -> bool:
    mine = next(line for line in _node_lines(client) if "myself" in line[2])
    return "master" in mine[2] and len(mine) == 8  # no slots follow the eight fields


def _is_synced(client: redis.Redis) -> bool:
    info = client.info("replication")
    return bool(info["role"] == "master" or info["master_link_status"] == "up")


def _is_whole(layout: Layout, client: redis.Redis) -> bool:
    """Every slot is served, and every server of the layout stands in the node's slot map, master or
    replica."""
    info = _cluster_info(client)
    if info["cluster_state"] != "ok" or int(info["cluster_slots_ok"]) != SLOTS:
        return False
    mapped = {int(node[1]) for entry in client.execute_command("CLUSTER", "SLOTS") for node in entry[2:]}
    return mapped >= {node.port for node in layout.nodes}
