"""Registrations outlive restarts, full resyncs and failovers, and are the same on replicas."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from typing import Any

import pytest
import redis
from redis.exceptions import RedisError
from support.functions import answering_misses, register
from support.server import Server, wait_for_replica
from support.waiting import wait_until


def _registrations(client: redis.Redis) -> int:
    return int(client.info("keymiss")["keymiss_registrations"])


@pytest.mark.parametrize("settings", [{"appendonly": "yes"}, {"save": "3600 1"}], ids=["aof", "rdb"])
def test_a_restart_keeps_them(make_server: Any, settings: dict[str, object]) -> None:
    server: Server = make_server(settings=settings)
    with contextlib.closing(server.client()) as client:
        register(client, answering_misses("m:"))
        client.set("any", "write")  # a server without changes saves nothing when it is stopped
    server.restart()
    with contextlib.closing(server.client()) as client:
        assert _registrations(client) == 1
        assert client.get("m:1") == b"answer for m:1"


def test_a_new_worker_has_them_all_however_large_they_are(make_server: Any) -> None:
    server: Server = make_server(settings={"keymiss.max-channel-bytes": 1 << 20})
    names = [f"trigger{n}" for n in range(4)]
    with contextlib.closing(server.client()) as client:
        for name in names:
            register(
                client,
                f"data = '{'x' * 400_000}'\n"
                f"GB('CommandReader').map(lambda x: len(data)).register(trigger='{name}')",
            )
        first = server.worker_pid("functions")
        os.kill(first, signal.SIGKILL)
        server.wait_for_worker("functions", other_than=first)
        assert len(client.execute_command("RG.DUMPREGISTRATIONS")) == len(names)
        assert [client.execute_command("RG.TRIGGER", name) for name in names] == [[b"400000"]] * len(names)


def test_a_rewritten_aof_keeps_them(make_server: Any) -> None:
    server: Server = make_server(settings={"appendonly": "yes"})
    with contextlib.closing(server.client()) as client:
        register(client, answering_misses("m:"))
        client.bgrewriteaof()
        wait_until(
            lambda: not client.info("persistence")["aof_rewrite_in_progress"], 30.0, "the AOF is rewritten"
        )
    server.restart()
    with contextlib.closing(server.client()) as client:
        assert client.get("m:1") == b"answer for m:1"


def test_one_that_is_gone_stays_gone(make_server: Any) -> None:
    server: Server = make_server(settings={"appendonly": "yes"})
    with contextlib.closing(server.client()) as client:
        register(client, answering_misses("m:"))
        register(client, answering_misses("n:"))
        (first, *_) = client.execute_command("RG.DUMPREGISTRATIONS")
        client.execute_command("RG.UNREGISTER", first[1])
    server.restart()
    with contextlib.closing(server.client()) as client:
        assert (client.get("m:1"), client.get("n:1")) == (None, b"answer for n:1")


def test_flushing_the_data_keeps_them(client: redis.Redis) -> None:
    register(client, answering_misses("m:"))
    client.flushall()
    assert client.get("m:1") == b"answer for m:1"


def test_reloading_the_data_keeps_them(client: redis.Redis) -> None:
    register(client, answering_misses("m:"))
    for _ in range(3):
        client.execute_command("DEBUG", "RELOAD")
        assert _registrations(client) == 1
        assert client.get("m:1") == b"answer for m:1"


def test_a_replica_has_them_and_loses_them_with_its_master(replicated: tuple[Server, Server]) -> None:
    master_server, replica_server = replicated
    with (
        contextlib.closing(master_server.client()) as master,
        contextlib.closing(replica_server.client()) as replica,
    ):
        register(master, answering_misses("m:"))
        wait_for_replica(master_server, replica_server)
        assert replica.get("m:1") == b"answer for m:1"
        register(master, answering_misses("n:"))
        wait_for_replica(master_server, replica_server)
        assert replica.get("n:1") == b"answer for n:1"
        for entry in master.execute_command("RG.DUMPREGISTRATIONS"):
            master.execute_command("RG.UNREGISTER", entry[1])
        wait_for_replica(master_server, replica_server)
        assert (replica.get("m:1"), _registrations(replica)) == (None, 0)


def test_a_promoted_replica_answers(replicated: tuple[Server, Server]) -> None:
    master_server, replica_server = replicated
    with contextlib.closing(master_server.client()) as master:
        register(
            master,
            answering_misses("m:", "    execute('SET', record['key'], 'v')\n    override_reply('v')\n"),
        )
    wait_for_replica(master_server, replica_server)
    master_server.kill()
    with contextlib.closing(replica_server.client()) as promoted:
        promoted.execute_command("REPLICAOF", "NO", "ONE")
        assert promoted.get("m:1") == b"v"
        assert promoted.exists("m:1")


def test_a_full_resync_replaces_them(make_server: Any) -> None:
    master_server: Server = make_server()
    other_server: Server = make_server()
    with (
        contextlib.closing(master_server.client()) as master,
        contextlib.closing(other_server.client()) as other,
    ):
        register(master, answering_misses("m:"))
        register(other, answering_misses("n:"))
        other.execute_command("REPLICAOF", "127.0.0.1", master_server.port)
        wait_for_replica(master_server, other_server)
        assert (other.get("m:1"), other.get("n:1")) == (b"answer for m:1", None)
        assert _registrations(other) == 1


def test_a_full_resync_from_a_master_without_any_removes_them(make_server: Any) -> None:
    master_server: Server = make_server()
    other_server: Server = make_server()
    with contextlib.closing(other_server.client()) as other:
        register(other, answering_misses("n:"))
        other.execute_command("REPLICAOF", "127.0.0.1", master_server.port)
        wait_for_replica(master_server, other_server)
        assert (other.get("n:1"), _registrations(other)) == (None, 0)


def test_registering_on_a_read_only_replica_is_refused(replicated: tuple[Server, Server]) -> None:
    with contextlib.closing(replicated[1].client()) as replica:
        with pytest.raises(redis.ResponseError, match="read-only replica"):
            replica.execute_command("RG.PYEXECUTE", answering_misses("m:"))
        assert _registrations(replica) == 0


def test_a_damaged_rdb_is_refused_and_crashes_nothing(make_server: Any) -> None:
    """The checksum is off: the module reads what it is given and must not trust it."""
    server: Server = make_server(settings={"rdbchecksum": "no"})
    with contextlib.closing(server.client()) as client:
        register(client, answering_misses("m:"))
        client.save()
    server.stop()
    rdb = server.folder / "dump.rdb"
    whole = rdb.read_bytes()
    start = whole.index(b"keymiss") if b"keymiss" in whole else 9
    dice = random.Random(7)
    for _ in range(12):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(start, len(whole) - 9)] = dice.randrange(256)
        rdb.write_bytes(damaged)
        with contextlib.suppress(AssertionError, RedisError):
            server.start()
        assert "crashed by signal" not in server.log and "=== KEYMISS" not in server.log
        assert "ASSERTION FAILED" not in server.log
        server.stop()
    rdb.write_bytes(whole)
    server.start()
    with contextlib.closing(server.client()) as client:
        assert client.get("m:1") == b"answer for m:1"
