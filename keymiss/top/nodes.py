"""The servers of a cluster, as CLUSTER NODES of one of them lists them: those that failed, too. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..client import Address
from ..hashtags import SLOTS

Role: TypeAlias = Literal["master", "replica"]

_HIDDEN = {"handshake", "noaddr"}  # no members yet, or nowhere to be found


@dataclass(frozen=True)
class Node:
    """A server's place in its cluster."""

    address: Address
    role: Role
    slots: int  # how many it serves itself


def parse_nodes(text: str, asked: str) -> list[Node]:
    """Masters by their first slot, each followed by its replicas; masters without slots come last. A node
    that does not know its own address yet is at `asked`."""
    lines = [line.split() for line in text.splitlines()]
    lines = [line for line in lines if len(line) >= 8 and not _HIDDEN & set(line[2].split(","))]
    slots = {line[0]: _slots(line[8:]) for line in lines}

    def place(line: list[str]) -> tuple[int, str, bool, int]:
        master = line[0] if line[3] == "-" else line[3]
        first, _ = slots.get(master, (SLOTS, 0))
        return first, master, line[3] != "-", _address(line[1], asked).port

    return [
        Node(_address(line[1], asked), "master" if line[3] == "-" else "replica", slots[line[0]][1])
        for line in sorted(lines, key=place)
    ]


def _address(written: str, asked: str) -> Address:
    """Of `host:port@bus-port,hostname`."""
    host, _, port = written.partition("@")[0].rpartition(":")
    return Address(host or asked, int(port))


def _slots(ranges: Iterable[str]) -> tuple[int, int]:
    """The first slot, and how many; SLOTS and 0 where there is none. What is on its way, `[slot->-node]`, is
    listed with those that have it."""
    spans = [
        (int(first), int(last or first))
        for first, _, last in (written.partition("-") for written in ranges if not written.startswith("["))
    ]
    return min((first for first, _ in spans), default=SLOTS), sum(last - first + 1 for first, last in spans)
