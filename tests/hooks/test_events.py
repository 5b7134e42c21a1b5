"""Keyspace events given to functions: what they see, when they run, and where they do not."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import redis
from support.functions import register
from support.server import Server, wait_for_replica
from support.waiting import wait_until


def _noting(options: str, what: str = "r['event'] + ' ' + r['key']") -> str:
    return f"GB().foreach(lambda r: execute('RPUSH', 'out', {what})).register({options})"


def _noted(client: redis.Redis) -> list[bytes]:
    noted: list[bytes] = client.execute_command("LRANGE", "out", 0, -1)
    return noted


def _wait_for_noted(client: redis.Redis, expected: list[bytes]) -> None:
    wait_until(lambda: _noted(client) == expected, 10.0, f"{expected} noted")


def test_the_effect_of_a_synchronous_function_is_there_when_the_writer_is_answered(
    client: redis.Redis,
) -> None:
    register(client, _noting("prefix='k*', mode='sync'"))
    for n in range(50):
        client.set(f"k{n}", "v")
        assert client.llen("out") == n + 1


def test_a_synchronous_function_may_delete_the_key_that_fired_it(client: redis.Redis) -> None:
    """Inside the notification of SET ... EX this would stop Redis 7.0 with an assertion."""
    register(client, "GB().foreach(lambda r: execute('DEL', r['key'])).register(prefix='k*', mode='sync')")
    client.set("k1", "v", ex=100)
    client.incrbyfloat("k2", 1.5)
    client.hset("k3", "f", "v")
    client.rpush("k4", "a")
    client.sadd("k5", "a")
    client.zadd("k6", {"a": 1})
    client.xadd("k7", {"a": "b"})
    client.setrange("k8", 3, "v")
    client.append("k9", "v")
    client.lpush("k10", "a", "b")
    client.getdel("k10")
    assert client.keys("k*") == []


@pytest.mark.parametrize(
    ("options", "fired"), [("", [b"abc"]), ("'ab*'", [b"ab", b"abc"]), ("regex='other'", [b"other"])]
)
def test_the_default_of_the_builder_is_the_prefix_where_none_is_given(
    client: redis.Redis, options: str, fired: list[bytes]
) -> None:
    function = "lambda r: execute('RPUSH', 'out', r['key'])"
    options += ", mode='sync', eventTypes=['set']" if options else "mode='sync', eventTypes=['set']"
    register(client, f"GB('KeysReader', 'abc*').foreach({function}).register({options})")
    for key in ("ab", "abc", "other"):
        client.set(key, "v")
    assert _noted(client) == fired


def test_key_types_choose_events_those_of_modules_among_them(client: redis.Redis) -> None:
    kinds = ("module", "hash", "stream", "empty")
    for kind in kinds:
        register(client, _noting(f"prefix='k*', keyTypes=['{kind}'], mode='sync'", f"'{kind} ' + r['key']"))
    client.execute_command("AI.TENSORSET", "k:tensor", "FLOAT", 1, "VALUES", 1)
    client.expire("k:tensor", 100)
    client.hset("k:hash", "f", "v")
    client.xadd("k:stream", {"f": "v"})
    client.set("k:string", "v")
    client.delete("k:string")
    assert _noted(client) == [b"module k:tensor", b"hash k:hash", b"stream k:stream", b"empty k:string"]


def test_events_of_a_transaction_are_noted_in_order(client: redis.Redis) -> None:
    register(client, _noting("prefix='k*', mode='sync'"))
    with client.pipeline(transaction=True) as transaction:
        transaction.set("k1", "v")
        transaction.incr("k2")
        transaction.rpush("k3", "a")
        transaction.delete("k1")
        transaction.execute()
    assert _noted(client) == [b"set k1", b"incrby k2", b"rpush k3", b"del k1"]


def test_the_value_is_that_of_the_moment_of_the_event(client: redis.Redis) -> None:
    register(client, _noting("prefix='k*', mode='async_local'", "str(r['value'])"))
    with client.pipeline(transaction=False) as pipeline:
        for n in range(5):
            pipeline.set("k", f"v{n}")
        pipeline.execute()
    expected = {f"v{n}".encode() for n in range(5)}
    wait_until(lambda: set(_noted(client)) == expected, 10.0, "each of the values noted")


VALUES = [
    ("SET k text", b"string 'text'"),
    ("RPUSH k a b", b"list ['a', 'b']"),
    ("HSET k field value", b"hash {'field': 'value'}"),
    ("SADD k member", b"set None"),
    ("ZADD k 1 member", b"zset None"),
]


@pytest.mark.parametrize(("command", "noted"), VALUES)
def test_types_and_values(client: redis.Redis, command: str, noted: bytes) -> None:
    register(client, _noting("prefix='k', mode='sync'", "r['type'] + ' ' + repr(r['value'])"))
    client.execute_command(*command.split())
    assert _noted(client) == [noted]


def test_reading_the_value_counts_no_miss_for_a_key_that_is_gone(client: redis.Redis) -> None:
    register(client, _noting("prefix='k*', mode='async_local'"))
    client.rpush("out", "begin")  # to look at a list that is not there is a miss too
    client.set("k1", "v")
    before = int(client.info("stats")["keyspace_misses"])
    client.delete("k1")
    _wait_for_noted(client, [b"begin", b"set k1", b"del k1"])
    assert int(client.info("stats")["keyspace_misses"]) == before


def test_a_function_that_writes_what_fires_another_does_so_only_asynchronously(client: redis.Redis) -> None:
    register(client, "GB().foreach(lambda r: execute('SET', 'b1', 'v')).register(prefix='a*', mode='sync')")
    register(client, _noting("prefix='b*', mode='sync'", "'sync'"))
    register(client, _noting("prefix='b*', mode='async_local'", "'async'"))
    client.set("a1", "v")
    _wait_for_noted(client, [b"async"])


def test_a_failing_function_leaves_the_write_alone(client: redis.Redis) -> None:
    register(client, "GB().foreach(lambda r: 1 / 0).register(prefix='k*', mode='sync')")
    assert client.set("k1", "v")
    assert client.get("k1") == b"v"


def test_loading_fires_nothing(make_server: Any) -> None:
    server: Server = make_server(settings={"appendonly": "yes"})
    with contextlib.closing(server.client()) as client:
        client.set("k1", "v")
        register(client, _noting("prefix='k*', mode='sync'"))
        client.set("k2", "v")
        assert _noted(client) == [b"set k2"]
    server.restart()
    with contextlib.closing(server.client()) as client:
        client.set("k3", "v")
        assert _noted(client) == [b"set k2", b"set k3"]


def test_replicated_writes_fire_on_the_master_only(replicated: tuple[Server, Server]) -> None:
    master_server, replica_server = replicated
    with (
        contextlib.closing(master_server.client()) as master,
        contextlib.closing(replica_server.client()) as replica,
    ):
        register(master, _noting("prefix='k*', eventTypes=['set'], mode='async_local'", "'fired'"))
        register(
            master,
            "GB().foreach(lambda r: override_reply('missed'))"
            ".register(prefix='k*', commands=['get'], eventTypes=['keymiss'], mode='async_local')",
        )
        wait_for_replica(master_server, replica_server)
        assert replica.get("k1") == b"missed"  # the function is there
        master.set("k1", "v")
        _wait_for_noted(master, [b"fired"])
        wait_for_replica(master_server, replica_server)
        assert _noted(replica) == [b"fired"]
        assert int(replica.info("keymiss")["keymiss_events_fired"]) == 1  # the miss, not the write


def test_what_synchronous_functions_write_reaches_replica_and_aof(make_server: Any) -> None:
    master_server: Server = make_server(settings={"appendonly": "yes", "appendfsync": "always"})
    replica_server: Server = make_server(settings={"replicaof": f"127.0.0.1 {master_server.port}"})
    wait_for_replica(master_server, replica_server)
    with contextlib.closing(master_server.client()) as master:
        register(master, _noting("prefix='k*', mode='sync'"))
        register(
            master,
            "GB().foreach(lambda r: execute('SET', r['key'], 'filled'))"
            ".register(prefix='m*', commands=['get'], eventTypes=['keymiss'], mode='sync')",
        )
        with master.pipeline(transaction=True) as transaction:
            transaction.set("k1", "v")
            transaction.get("m1")
            transaction.exists("k9")
            transaction.execute()
        assert master.get("m2") is None  # filled, not overridden
        master.exists("k2")
        expected = [b"set k1", b"keymiss k9", b"keymiss k2"]
        assert _noted(master) == expected
        assert master.mget("m1", "m2") == [b"filled", b"filled"]
        wait_for_replica(master_server, replica_server)
        with contextlib.closing(replica_server.client()) as replica:
            assert (_noted(replica), replica.mget("m1", "m2")) == (expected, [b"filled", b"filled"])
    master_server.kill()
    master_server.start()
    with contextlib.closing(master_server.client()) as master:
        assert (_noted(master), master.mget("m1", "m2")) == (expected, [b"filled", b"filled"])


def test_writers_do_not_wait_again_and_again_for_a_function_that_hangs(make_server: Any) -> None:
    server: Server = make_server(settings={"keymiss.sync-timeout-ms": 500, "keymiss.job-timeout-ms": 1000})
    with contextlib.closing(server.client()) as client:
        register(
            client,
            "import time\nGB().foreach(lambda r: time.sleep(30)).register(prefix='slow*', mode='sync')\n",
        )
        started = time.monotonic()
        for n in range(20):
            client.set(f"slow{n}", "v")
        assert time.monotonic() - started < 20 * 0.5


def test_a_function_that_hangs_does_not_make_another_one_late(client: redis.Redis) -> None:
    client.config_set("keymiss.sync-timeout-ms", 50)
    register(
        client,
        "import time\nGB().foreach(lambda r: time.sleep(0.5)).register(prefix='slow*', mode='sync')\n",
    )
    client.set("slow", "v")
    client.config_set("keymiss.sync-timeout-ms", 60_000)
    register(client, _noting("prefix='k*', mode='sync'"))
    client.set("k1", "v")
    assert _noted(client) == [b"set k1"]


def test_writers_go_on_where_no_worker_can_be_started(make_server: Any) -> None:
    server: Server = make_server(settings={"appendonly": "yes"})
    with contextlib.closing(server.client()) as client:
        register(client, _noting("prefix='k*', mode='sync'"))
    server.stop()
    server.settings = {**server.settings, "keymiss.python": "/nonexistent"}
    server.start()
    with contextlib.closing(server.client()) as client:
        for n in range(200):
            assert client.set(f"k{n}", "v")
        assert client.dbsize() == 200
