"""The nodes of a cluster, as CLUSTER NODES tells them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Ranges = tuple[tuple[int, int], ...]

_NAMELESS = frozenset({"handshake", "noaddr"})


@dataclass(frozen=True, slots=True)
class Node:
    """One node. `connected`: the bus has a line to it; `failed`: the cluster agrees that it is down."""

    id: str
    host: str
    port: int
    myself: bool
    master: bool
    replicates: str  # the id of its master; "-" of one that is a master itself
    failed: bool
    connected: bool
    slots: Ranges  # those that it serves, moving ones among them until they have moved
    moving: frozenset[int]  # those that are on their way from it or to it; told of myself only


def parse_nodes(text: str) -> list[Node]:
    """One line a node: `<id> <ip:port@bus[,host]> <flags> <master> <ping> <pong> <epoch> <link> <slot>...`.

    Those whose names are not known yet are left out.
    """
    lines = (line.split() for line in text.splitlines())
    return [_node(*words) for words in lines if _NAMELESS.isdisjoint(words[2].split(","))]


def _node(
    name: str, address: str, flags: str, master: str, ping: str, pong: str, epoch: str, link: str, *slots: str
) -> Node:
    host, _, port = address.partition("@")[0].rpartition(":")
    words = flags.split(",")
    mine = "myself" in words
    ranges = sorted(_range(part) for part in slots if not part.startswith("["))
    moving = frozenset(int(part[1:].partition("-")[0]) for part in slots if part.startswith("["))
    connected = mine or link == "connected"
    return Node(
        name,
        host,
        int(port),
        mine,
        "master" in words,
        master,
        "fail" in words,
        connected,
        tuple(ranges),
        moving,
    )


def first_slot(nodes: Sequence[Node]) -> int:
    """The first slot of myself, or of the master that I replicate; 0 where that owns none, or has no
    name yet."""
    me = next(node for node in nodes if node.myself)
    owner = next((node for node in nodes if node.id == me.replicates), me)
    return owner.slots[0][0] if owner.slots else 0


def _range(part: str) -> tuple[int, int]:
    first, _, last = part.partition("-")
    return int(first), int(last or first)
