"""Shards that join a cluster, leave it, or were away: all masters end up with the same registrations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
from support.cluster import Cluster
from support.functions import answering_misses, register
from support.load import Load
from support.server import Server
from support.waiting import wait_until
from support.wheels import make_wheel

from keymiss.hashtags import hash_tag_of

FOLLOW_S = 60.0  # a requirement is installed meanwhile, on a busy machine
NOTE_EVENTS = """
noted = []
def note(record):
    noted.append(record['key'])
GB().foreach(note).register(prefix='event:*', eventTypes=['set'], mode='async_local')
GB('CommandReader').flatmap(lambda _: noted).register(trigger='noted', mode='async_local')
"""
COUNT_SHARDS = "GB('ShardsIDReader').count().run()"


def sessions(client: redis.Redis) -> list[Any]:
    """Name, description, requirements and registrations of each session."""
    return [
        (entry[1], entry[3], entry[13], entry[15]) for entry in client.execute_command("RG.PYDUMPSESSIONS")
    ]


def write(client: redis.Redis, n: int) -> bytes:
    """Fires an event, in one of the slots that move or in one that does not."""
    key = f"event:{n}:{{{hash_tag_of(n % 3)}}}"
    client.set(key, n)
    return key.encode()


def noted(*shards: Server) -> list[bytes]:
    """The keys whose events these shards have seen."""
    keys: list[bytes] = []
    for shard in shards:
        with shard.client() as client:
            keys += client.execute_command("RG.TRIGGER", "noted")
    return keys


def run_ids(client: redis.Redis) -> set[bytes]:
    """Of the servers of all shards, as RG.INFOCLUSTER tells them."""
    shards = client.execute_command("RG.INFOCLUSTER")[4]
    return {shard[shard.index(b"runid") + 1] for shard in shards} - {b"0" * 40}


def paused(client: redis.Redis) -> list[bytes]:
    """The ids of stream registrations that are paused."""
    entries = client.execute_command("RG.DUMPREGISTRATIONS")
    return [entry[1] for entry in entries if entry[7][-2:] == [b"status", b"PAUSED"]]


def test_a_master_that_joins_has_all_registrations_and_serves_its_slots(
    make_cluster: Callable[..., Cluster], make_server: Callable[..., Server], tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "zz_answers", "1.0", {"zz_answers.py": ""})
    cluster = make_cluster(shards=2)
    first, second = cluster.masters
    joining = make_server(settings=cluster.settings)
    with first.client() as client, joining.client() as newcomer:
        named = (*("ID", "named", "DESCRIPTION", "answers"), "REQUIREMENTS", f"zz-answers @ {wheel.as_uri()}")
        client.execute_command("RG.PYEXECUTE", answering_misses("q"), *named)
        register(client, "GB('StreamReader').register(prefix='s:*')")
        register(client, "GB('CommandReader').register(trigger='t', onRegistered=lambda: log('here now'))")
        register(client, NOTE_EVENTS)
        register(client, answering_misses("removed"))
        *_, stream, _, _, _, removed = (entry[1] for entry in client.execute_command("RG.DUMPREGISTRATIONS"))
        client.execute_command("RG.PAUSEREGISTRATIONS", stream)
        client.execute_command("RG.UNREGISTER", removed)

        wheel.unlink()  # the newcomer is sent it by those that have it
        cluster.add(joining)
        with suppress(AssertionError):  # the next line tells what is missing
            wait_until(lambda: sessions(newcomer) == sessions(client), FOLLOW_S, "the newcomer has them all")
        assert sessions(newcomer) == sessions(client)
        assert len(sessions(newcomer)) == 4
        assert paused(newcomer) == paused(client) == [stream]
        wait_until(lambda: "here now" in joining.log, FOLLOW_S, "onRegistered has run there")
        assert client.execute_command("RG.TRIGGER", "t") == [b"['t']"] * 2, "it owns no slot yet"
        assert newcomer.execute_command("RG.PYEXECUTE", COUNT_SHARDS) == [[b"2"], []]

        cluster.move(first, joining, 3)
        key = f"q{{{hash_tag_of(0)}}}"
        answer = f"answer for {key}".encode()
        wait_until(lambda: newcomer.get(key) == answer, FOLLOW_S, "it serves what has moved to it")
        for shard in (first, second, joining):
            with shard.client() as asked:
                assert asked.execute_command("RG.PYEXECUTE", COUNT_SHARDS) == [[b"3"], []]
                assert len(run_ids(asked)) == 3

        # What a shard that has joined does concerns all; when it has left, it concerns nobody.
        register(newcomer, "GB('CommandReader').register(trigger='later', mode='sync')")
        assert client.execute_command("RG.TRIGGER", "later") == [b"['later']"]
        with Load(cluster.client, write, clients=2) as load:
            load.wait_for_replies(20)
            cluster.move(joining, first, 2)
            load.wait_for_replies(20)
        assert not load.errors
        wait_until(
            lambda: sorted(noted(first, second, joining)) == sorted(load.replies),
            FOLLOW_S,
            "each event has fired, once, wherever its key was",
        )
        cluster.move(joining, first, 1)
        cluster.remove(joining)
        assert client.execute_command("RG.PYEXECUTE", COUNT_SHARDS) == [[b"2"], []]
        register(client, answering_misses("afterwards"))
