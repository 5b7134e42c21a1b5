"""Sessions: what is left of one that is replaced, and what an upgrade leaves alone."""

from __future__ import annotations

import threading

import pytest
import redis
from redis.exceptions import ResponseError
from support.cluster import Cluster
from support.functions import register
from support.server import Server
from support.waiting import wait_until

READS = """
def read(record):
    execute('RPUSH', 'read', '%s ' + record['value']['n'])
GB('StreamReader').foreach(read).register(prefix='s', trimStream=%s)
"""


def names(client: redis.Redis, *options: str) -> list[bytes]:
    return [entry[1] for entry in client.execute_command("RG.PYDUMPSESSIONS", *options)]


@pytest.mark.parametrize("trims", [True, False])
def test_an_upgraded_stream_reader_goes_on_where_it_was(client: redis.Redis, trims: bool) -> None:
    read: list[bytes] = []
    for version in range(3):
        script = READS % (f"v{version}", trims)
        client.execute_command("RG.PYEXECUTE", script, "ID", "reader", "UPGRADE")
        for n in (1, 2):
            client.xadd("s", {"n": f"{version}{n}"})
            read.append(f"v{version} {version}{n}".encode())
        wait_until(lambda: len(client.lrange("read", 0, -1)) >= len(read), 10.0, "entries are read")
        assert client.lrange("read", 0, -1) == read, "each once, in order, by the function of its time"
    assert client.xlen("s") == (0 if trims else 6)


def test_a_session_that_is_gone_but_still_runs_is_dead(client: redis.Redis, server: Server) -> None:
    script = (
        "async def wait(x):\n    execute('SET', 'waits', 1)\n"
        "    while not execute('GET', 'go'): await asyncio.sleep(0.01)\n    return 'old'\n"
        "GB('CommandReader').map(wait).register(trigger='t')"
    )
    client.execute_command("RG.PYEXECUTE", script, "ID", "s")
    answers: list[object] = []

    def trigger() -> None:
        with server.client() as own:
            answers.append(own.execute_command("RG.TRIGGER", "t"))

    thread = threading.Thread(target=trigger)
    thread.start()
    wait_until(lambda: client.get("waits"), 10.0, "it runs")
    assert names(client, "DEAD") == []
    newer = "GB('CommandReader').map(lambda x: 'new').register(trigger='t')"
    client.execute_command("RG.PYEXECUTE", newer, "ID", "s", "UPGRADE")
    assert client.execute_command("RG.TRIGGER", "t") == [b"new"]
    (dead,) = client.execute_command("RG.PYDUMPSESSIONS", "dead", "SESSIONS", "s")
    assert (dead[1], dead[5], dead[9], dead[-1]) == (b"s", 0, b"true", [])
    assert names(client, "VERBOSE", "DEAD") == [b"s"] == names(client)
    client.set("go", 1)
    thread.join()
    assert answers == [[b"old"]]
    assert names(client, "DEAD") == []


def test_a_session_that_is_replaced_while_it_runs_is_kept_no_longer_than_it_runs(client: redis.Redis) -> None:
    script = (
        "class Kept: pass\nkept = Kept()\n"
        "async def wait(x):\n    execute('RPUSH', 'began', 1)\n"
        "    while not execute('GET', 'go'): await asyncio.sleep(0.01)\n"
        "    execute('RPUSH', 'ended', 1)\n    return kept\n"
        "GB('KeysReader').foreach(wait).register(prefix='k', mode='async_local')"
    )
    for n in range(5):
        client.execute_command("RG.PYEXECUTE", script, "ID", "s", "UPGRADE")
        client.set("k", n)
        assert client.blpop("began", 10.0), "it runs"
    client.set("go", 1)
    assert all(client.blpop("ended", 10.0) for _ in range(5)), "all runs end"
    count = (
        "import gc\ngc.collect()\n"
        "kept = [thing for thing in gc.get_objects() if type(thing).__name__ == 'Kept']\n"
        "execute('SET', 'kept', len(kept))"
    )

    def one_is_kept() -> bool:
        register(client, count)
        return client.get("kept") == b"1"

    wait_until(one_is_kept, 10.0, "only what the session has now is there")


def test_an_upgrade_whose_last_registration_fails_leaves_the_session_whole(client: redis.Redis) -> None:
    old = "GB('CommandReader').map(lambda x: 'old %s').register(trigger='%s')\n"
    client.execute_command(
        "RG.PYEXECUTE", old % ("a", "a") + old % ("b", "b"), "ID", "s", "DESCRIPTION", "whole"
    )
    register(client, "GB('CommandReader').map(lambda x: 'theirs').register(trigger='taken')")
    ((*before, registrations),) = client.execute_command("RG.PYDUMPSESSIONS", "SESSIONS", "s")
    new = old.replace("old", "new")
    for last, words in {
        new % ("taken", "taken"): "trigger already registered",
        "GB('CommandReader').map(lambda x: (i for i in x)).map(lambda x, g=(i for i in ''): g)"
        ".register(trigger='c')": "serialized a python callback",
        "GB().register(prefix='k', eventTypes=['e' * 10] * 100000)": "registration",
        "raise Exception('late')": "late",
    }.items():
        with pytest.raises(ResponseError, match=words):
            client.execute_command("RG.PYEXECUTE", new % ("a", "a") + last, "ID", "s", "UPGRADE")
        ((*after, kept),) = client.execute_command("RG.PYDUMPSESSIONS", "SESSIONS", "s")
        assert (after, sorted(kept)) == (before, registrations)
        assert client.execute_command("RG.TRIGGER", "a") == [b"old a"]
        assert client.execute_command("RG.TRIGGER", "b") == [b"old b"]


def test_upgrades_at_the_same_time_come_one_after_the_other(client: redis.Redis, server: Server) -> None:
    script = (
        "import time\ntime.sleep(0.01)\nGB('CommandReader').map(lambda x: %d).register(trigger='t')\n"
        "GB('CommandReader').map(lambda x: %d).register(trigger='u')"
    )

    def upgrade(number: int) -> None:
        with server.client() as own:
            own.execute_command("RG.PYEXECUTE", script % (number, number), "ID", "s", "UPGRADE")

    threads = [threading.Thread(target=upgrade, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(client) == [b"s"]
    assert len(client.execute_command("RG.DUMPREGISTRATIONS")) == 2
    assert client.execute_command("RG.TRIGGER", "t") == client.execute_command("RG.TRIGGER", "u")


def test_an_upgrade_is_one_of_all_shards(cluster: Cluster) -> None:
    shards = [master.client() for master in cluster.masters]
    try:
        script = "GB('CommandReader').map(lambda x: '%s').register(trigger='t')\n"
        shards[0].execute_command("RG.PYEXECUTE", script % "old" + "GB().register(prefix='x')", "ID", "s")
        shards[1].execute_command(
            "RG.PYEXECUTE", script % "new", "ID", "s", "UPGRADE", "DESCRIPTION", "second"
        )
        for shard in shards:
            assert shard.execute_command("RG.TRIGGER", "t") == [b"new"] * 3
            (shown,) = shard.execute_command("RG.PYDUMPSESSIONS")
            assert (shown[1], shown[3], shown[5]) == (b"s", b"second", 1)
        replacing = ("ID", "other", "REPLACE_WITH", "s")
        shards[2].execute_command("RG.PYEXECUTE", script % "newest", *replacing)
        for shard in shards:
            assert names(shard) == [b"other"]
            assert shard.execute_command("RG.TRIGGER", "t") == [b"newest"] * 3
    finally:
        for shard in shards:
            shard.close()
