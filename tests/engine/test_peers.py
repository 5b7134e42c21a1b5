"""What another shard sent waits for the worker that it is for, as far as there is room, and not for ever."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.cluster import Cluster, node_id
from support.scripted import Scripts
from support.server import Server
from support.waiting import wait_until

GIVE_UP_S = 20.0

Peers = Callable[[str], tuple[Scripts, Scripts, str]]


@pytest.fixture
def peers(make_server: Callable[..., Server], scripted_python: Path, tmp_path: Path) -> Iterator[Peers]:
    """Makes two shards, with room for 1 MB: one with the scripted worker, and one whose worker is this line
    of a shell; with the other's node."""
    with contextlib.ExitStack() as stack:

        def make(line: str) -> tuple[Scripts, Scripts, str]:
            broken = tmp_path / "python"
            broken.write_text(f"#!/bin/sh\n{line}\n")
            broken.chmod(0o755)
            programs = iter([scripted_python, broken])
            cluster = Cluster(
                lambda settings: make_server(settings={**settings, "keymiss.python": next(programs)}),
                shards=2,
                settings={"keymiss.max-channel-bytes": 1 << 20},
            )
            one, other = (stack.enter_context(contextlib.closing(s.client())) for s in cluster.masters)
            return Scripts(one), Scripts(other), node_id(cluster.masters[1]).decode()

        yield make


def test_those_beyond_the_bytes_that_may_wait_are_lost(peers: Peers) -> None:
    one, other, node = peers("exec sleep 600")
    for _ in range(5):
        assert one(f"peer {node} 400000") == b"OK"
    wait_until(lambda: other.info("peer_messages_lost") == 3, GIVE_UP_S, "two of them wait")


def test_those_that_wait_for_a_worker_that_cannot_be_started_are_lost(peers: Peers) -> None:
    one, other, node = peers("exit 1")

    def are_lost() -> bool:
        if other.info("functions_worker")["state"] == "off":
            assert one(f"peer {node} 10") == b"OK"  # which has it started again
        return bool(other.info("peer_messages_lost"))

    wait_until(are_lost, GIVE_UP_S, "they have waited long enough")
