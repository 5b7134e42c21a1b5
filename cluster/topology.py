"""Servers become a cluster: slots given out, nodes introduced, replicas attached.

Every step looks first and does only what is missing, so that a formation that was interrupted goes on where
it stopped and a cluster that is whole is left alone.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import redis

from keymiss.client import connect
from keymiss.client.where import PASSWORD
from keymiss.hashtags import SLOTS

from .layout import Layout

POLL_S = 0.05
COMMAND_TIMEOUT_S = 5.0


class NotFormed(Exception):
    """The servers run but did not become a cluster in time; the text says what is missing."""


@dataclass(frozen=True)
class Member:
    """A server of the cluster to be: a master with its slots (first, last), or a replica."""

    name: str
    host: str
    port: int
    bus_port: int
    slots: tuple[int, int] | None = None
    replica_of: str | None = None  # the name of its master


Clients = Mapping[str, redis.Redis]  # by the members' names
T = TypeVar("T")


def form(layout: Layout, deadline_s: float) -> None:
    """Make one cluster of the servers of `layout`, as `join`."""
    names = {node.port: node.name for node in layout.nodes}
    members = []
    for number, node in enumerate(layout.nodes):
        slots = layout.slots_of(number) if node.replica_of is None else None
        master = names[node.replica_of] if node.replica_of is not None else None
        members.append(Member(node.name, "127.0.0.1", node.port, node.bus_port, slots, master))
    join(members, deadline_s)


def join(members: Sequence[Member], deadline_s: float) -> None:
    """Make one cluster of these servers, all of which run; returns when each of them sees it whole.

    NotFormed after `deadline_s` seconds."""
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            return _join(members, deadline)
        except redis.BusyLoadingError as error:  # as replicas do that get all that their master has
            if time.monotonic() > deadline:
                raise NotFormed("a server is still loading its data") from error
            time.sleep(POLL_S)


def _join(members: Sequence[Member], deadline: float) -> None:
    with ExitStack() as stack:
        clients = {
            member.name: stack.enter_context(closing(connect(member.host, member.port, COMMAND_TIMEOUT_S)))
            for member in members
        }
        for name, client in clients.items():
            _check(name, client, deadline)
        _give_slots(members, clients)
        ids = _introduce(members, clients, deadline)
        _attach_replicas(members, clients, ids, deadline)
        for name, client in clients.items():
            _wait(deadline, partial(_is_whole, ids, client), f"{name} does not see a whole cluster")


def _check(name: str, client: redis.Redis, deadline: float) -> None:
    """NotFormed where it does not answer in time, or cannot be in a cluster."""
    try:
        _wait(deadline, partial(_answers, client), f"{name} does not answer")
    except redis.AuthenticationError as error:
        raise NotFormed(f"{name}: {error} ({PASSWORD} names the password)") from error
    if not client.info("cluster")["cluster_enabled"]:
        raise NotFormed(f"{name} has no `cluster-enabled yes` in its configuration")


def _give_slots(members: Sequence[Member], clients: Clients) -> None:
    """Those that have a server stay where they are: they may have been moved since."""
    given: set[int] = set()
    for client in clients.values():
        given |= _served_slots(client)
    for number, member in enumerate(members):
        if member.slots is None or not given.isdisjoint(range(member.slots[0], member.slots[1] + 1)):
            continue
        client = clients[member.name]
        if _cluster_info(client)["cluster_current_epoch"] == "0":
            # No two masters start with the same.
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", *member.slots)


def _introduce(members: Sequence[Member], clients: Clients, deadline: float) -> dict[str, str]:
    """Have the members meet, also one that is known by an address that it no longer has; gives their ids."""
    ids = {name: _my_id(client) for name, client in clients.items()}
    first = clients[members[0].name]
    for member in members:
        if ids[member.name] not in _connected_ids(first):
            address = socket.gethostbyname(member.host)  # servers look no names up
            first.execute_command("CLUSTER", "MEET", address, member.port, member.bus_port)
    for member in members:
        knows_all = partial(_knows, clients[member.name], set(ids.values()))
        bus = f"they have to reach its cluster bus, on port {member.bus_port}"
        _wait(deadline, knows_all, f"{member.name} has not met the others: {bus}")
    return ids


def _attach_replicas(
    members: Sequence[Member], clients: Clients, ids: Mapping[str, str], deadline: float
) -> None:
    """Also a master that came back without its data: whoever has taken its slots is its master now."""
    slots = {member.name: member.slots for member in members}
    for member in members:
        client, named = clients[member.name], member.replica_of or member.name
        its_slots = slots.get(named)
        if its_slots is not None and _is_empty_master(client):
            slot = its_slots[0]
            master = partial(_master, client, clients[named], ids[named], slot)
            owner = _wait(deadline, master, f"{member.name} sees nobody serve slot {slot}")
            if owner != ids[member.name]:
                client.execute_command("CLUSTER", "REPLICATE", owner)
    for name, client in clients.items():
        _wait(deadline, partial(_is_synced, client), f"{name} has not caught up with its master")


def _master(client: redis.Redis, named: redis.Redis, named_id: str, slot: int) -> str:
    """The id of who is to be the master of an empty server: the one that was named, as long as it serves
    slots, else who serves `slot`. Empty where the server does not see that one serve any yet."""
    if _serves_slots(named):
        return named_id if named_id in _serving(client) else ""
    return _owner(client, slot)


def _wait(deadline: float, condition: Callable[[], T], complaint: str) -> T:
    """What it gives once that is true."""
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise NotFormed(complaint)
        time.sleep(POLL_S)
    return found


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        raise
    except (redis.ConnectionError, redis.TimeoutError):  # the first also while it loads its data
        return False


def _cluster_info(client: redis.Redis) -> dict[str, str]:
    text = client.execute_command("CLUSTER", "INFO").decode()
    return dict(line.split(":", 1) for line in text.split() if ":" in line)


def _node_lines(client: redis.Redis) -> list[list[str]]:
    """CLUSTER NODES, split: id, address, flags, master, ping, pong, epoch, link, slots..."""
    return [line.split() for line in client.execute_command("CLUSTER", "NODES").decode().splitlines()]


def _known_ids(client: redis.Redis) -> set[str]:
    return {line[0] for line in _node_lines(client) if "handshake" not in line[2]}


def _connected_ids(client: redis.Redis) -> set[str]:
    return {line[0] for line in _node_lines(client) if line[7] == "connected"} & _known_ids(client)


def _knows(client: redis.Redis, ids: set[str]) -> bool:
    return ids <= _known_ids(client)


def _served_slots(client: redis.Redis) -> set[int]:
    """The slots that some node serves, as this one sees it."""
    ranges = [(int(first), int(last)) for first, last, *_ in client.execute_command("CLUSTER", "SLOTS")]
    return {slot for first, last in ranges for slot in range(first, last + 1)}


def _owner(client: redis.Redis, slot: int) -> str:
    """The id of who serves the slot as this node sees it; empty where nobody does."""
    for first, last, master, *_ in client.execute_command("CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return str(master[2].decode())
    return ""


def _serving(client: redis.Redis) -> set[str]:
    """The ids of those that serve slots as this node sees it."""
    return {master[2].decode() for _, _, master, *_ in client.execute_command("CLUSTER", "SLOTS")}


def _my_id(client: redis.Redis) -> str:
    return str(client.execute_command("CLUSTER", "MYID").decode())


def _is_empty_master(client: redis.Redis) -> bool:
    mine = _own_line(client)
    return "master" in mine[2] and len(mine) == 8  # no slots follow the eight fields


def _serves_slots(client: redis.Redis) -> bool:
    return len(_own_line(client)) > 8


def _own_line(client: redis.Redis) -> list[str]:
    return next(line for line in _node_lines(client) if "myself" in line[2])


def _is_synced(client: redis.Redis) -> bool:
    info = client.info("replication")
    return bool(info["role"] == "master" or info["master_link_status"] == "up")


def _is_whole(ids: Mapping[str, str], client: redis.Redis) -> bool:
    """Every slot is served, and every member stands in the node's slot map, master or replica."""
    info = _cluster_info(client)
    if info["cluster_state"] != "ok" or int(info["cluster_slots_ok"]) != SLOTS:
        return False
    mapped = {node[2].decode() for entry in client.execute_command("CLUSTER", "SLOTS") for node in entry[2:]}
    return mapped >= set(ids.values())
