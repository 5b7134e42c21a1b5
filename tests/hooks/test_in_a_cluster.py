"""Hooks in a cluster: redirects, replicas, and what shards tell each other over the bus."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import redis
from redis.exceptions import MovedError, ResponseError
from support.cluster import Cluster
from support.functions import answering_misses, register
from support.waiting import wait_until


def _everywhere(cluster: Cluster, count: int) -> bool:
    for master in cluster.masters:
        with contextlib.closing(master.client()) as client:
            if int(client.info("keymiss")["keymiss_registrations"]) != count:
                return False
    return True


@pytest.fixture
def answering(cluster: Cluster) -> Cluster:
    with contextlib.closing(cluster.masters[0].client()) as client:
        register(client, answering_misses("m:"))
    wait_until(lambda: _everywhere(cluster, 1), 20.0, "every shard has the registration")
    return cluster


def test_a_miss_is_answered_where_its_key_belongs(answering: Cluster) -> None:
    with contextlib.closing(answering.client()) as client:
        for n in range(30):
            assert client.get(f"m:{n}") == f"answer for m:{n}".encode()


def test_the_wrong_shard_redirects_as_ever(answering: Cluster) -> None:
    shard = answering.shard_of("m:1")
    wrong = next(s for s in answering.shards if s is not shard)
    with contextlib.closing(wrong.master.client()) as client, pytest.raises(MovedError):
        client.get("m:1")


def test_keys_of_several_slots_are_refused_as_ever(answering: Cluster) -> None:
    with contextlib.closing(answering.masters[0].client()) as client:
        register(
            client, "GB().map(lambda r: 0).register(prefix='m:*', commands=['mget'], mode='async_local')"
        )
        with pytest.raises(ResponseError, match=r"CROSSSLOT|same slot"):
            client.execute_command("MGET", "m:{a}", "m:{b}")


def test_an_unregistered_one_is_gone_from_every_shard(answering: Cluster) -> None:
    with contextlib.closing(answering.masters[1].client()) as client:
        (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
        client.execute_command("RG.UNREGISTER", entry[1])
    wait_until(lambda: _everywhere(answering, 0), 20.0, "no shard has the registration")
    with contextlib.closing(answering.client()) as client:
        assert client.get("m:1") is None


def test_results_larger_than_a_chunk_of_the_bus_come_back_whole(cluster: Cluster) -> None:
    """Each shard sends three megabytes; the bus carries them in pieces."""
    script = "GB('ShardsIDReader').map(lambda x: 'x' * 3000000).map(lambda x: len(x)).collect().run()"
    whole = "GB('ShardsIDReader').map(lambda x: 'x' * 3000000).run()"
    with contextlib.closing(cluster.masters[0].client()) as client:
        lengths, errors = client.execute_command("RG.PYEXECUTE", script)
        assert (sorted(lengths), errors) == ([b"3000000"] * 3, [])
        results, errors = client.execute_command("RG.PYEXECUTE", whole)
        assert ([len(r) for r in results], errors) == ([3000000] * 3, [])


SYNC = """
GB().foreach(lambda r: override_reply('sync answer')).register(
    's:*', commands=['get'], eventTypes=['keymiss'], mode='sync')
GB().foreach(lambda r: execute('HSET', r['key'], 'seen', 1)).register('e:*', eventTypes=['hset'], mode='sync')
GB('CommandReader').map(lambda words: call_next(*words[1:]) + ' hooked').register(
    hook='hget', keyprefix='e:', mode='sync')
"""


def test_sync_functions_run_where_the_key_is(cluster: Cluster) -> None:
    register_on = cluster.masters[2]
    with contextlib.closing(register_on.client()) as client:
        register(client, SYNC)
    for shard in cluster.shards:
        missing, written = f"s:{{{shard.hash_tag}}}", f"e:{{{shard.hash_tag}}}"
        wrong = next(s for s in cluster.shards if s is not shard)
        with contextlib.closing(wrong.master.client()) as client:
            for words in (("GET", missing), ("HSET", written, "a", 1), ("HGET", written, "a")):
                with pytest.raises(MovedError):
                    client.execute_command(*words)
        with contextlib.closing(shard.master.client()) as client:
            assert client.get(missing) == b"sync answer"
            assert client.hset(written, "a", 1) == 1
            assert client.hgetall(written) == {b"a": b"1", b"seen": b"1"}
            assert client.hget(written, "a") == b"1 hooked"


def test_a_replica_answers_reads_that_miss_where_clients_allow_it_and_all_as_a_master(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(shards=3, replicas=1)
    with contextlib.closing(cluster.masters[0].client()) as client:
        register(client, answering_misses("m:"))
        register(client, SYNC)
    shard = cluster.shard_of("m:1")
    (replica,) = shard.replicas
    with contextlib.closing(replica.client()) as client:
        wait_until(
            lambda: int(client.info("keymiss")["keymiss_registrations"]) == 4, 20.0, "the replica has them"
        )
        with pytest.raises(MovedError):
            client.get("m:1")
        connection = client.connection_pool.get_connection()
        try:
            for command, reply in ((("READONLY",), b"OK"), (("GET", "m:1"), b"answer for m:1")):
                connection.send_command(*command)
                assert connection.read_response() == reply
        finally:
            client.connection_pool.release(connection)
        shard.master.kill()
        client.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
        tag = f"{{{shard.hash_tag}}}"
        assert client.get(f"m:{tag}") == f"answer for m:{tag}".encode()
        assert client.get(f"s:{tag}") == b"sync answer"
        assert client.hset(f"e:{tag}", "a", 1) == 1
        assert client.hgetall(f"e:{tag}") == {b"a": b"1", b"seen": b"1"}
        assert client.hget(f"e:{tag}", "a") == b"1 hooked"


def test_a_node_that_is_gone_is_an_error_not_a_wait(make_cluster: object) -> None:
    """A script for all shards ends, with what it has or an error, though one of them does not answer."""
    cluster: Cluster = make_cluster(shards=3, replicas=0, **{"keymiss.execution-timeout-ms": 20000})  # type: ignore[operator]
    cluster.masters[2].kill()
    with contextlib.closing(cluster.masters[0].client(socket_timeout=60.0)) as client:
        with contextlib.suppress(redis.ResponseError):
            _, errors = client.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').run()")
            assert errors
        assert client.ping()
