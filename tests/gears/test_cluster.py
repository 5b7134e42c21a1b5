"""Executions and registrations over the shards of a cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.exceptions import ResponseError
from support.cluster import Cluster, node_id
from support.functions import answering_misses, register
from support.processes import stopped
from support.waiting import wait_until

GIVE_UP_S = 20.0


def registered(client: redis.Redis) -> list[bytes]:
    """The ids of the registrations of a shard."""
    return sorted(entry[1] for entry in client.execute_command("RG.DUMPREGISTRATIONS"))


@pytest.fixture
def clients(cluster: Cluster) -> Iterator[list[redis.Redis]]:
    """A client of each shard."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(master.client())) for master in cluster.masters]


def test_a_batch_runs_on_every_shard_and_its_results_come_together(cluster: Cluster) -> None:
    with contextlib.closing(cluster.client()) as everyone:
        for n in range(600):
            everyone.set(f"key:{n}", n)
    for master in cluster.masters:
        with master.client() as client:
            total = "GB().map(lambda r: int(r['value'])).aggregate(0, lambda a, n: a + n, lambda a, n: a + n)"
            assert client.execute_command("RG.PYEXECUTE", f"{total}.run('key:*')") == [[b"179700"], []]


def test_records_go_to_the_shard_that_owns_their_key(cluster: Cluster) -> None:
    with cluster.masters[0].client() as client:
        script = (
            "def words():\n    for n in range(300):\n        yield 'word:%d' % n\n"
            "GB('PythonReader').repartition(lambda w: w)"
            ".foreach(lambda w: execute('INCR', w)).count().run(words)"
        )
        assert client.execute_command("RG.PYEXECUTE", script) == [[b"900"], []]
    with contextlib.closing(cluster.client()) as everyone:
        assert [everyone.get(f"word:{n}") for n in (0, 1, 299)] == [b"3", b"3", b"3"]


def test_a_reader_of_one_key_reads_on_the_shard_that_serves_it_alone(
    cluster: Cluster, clients: list[redis.Redis]
) -> None:
    with contextlib.closing(cluster.client()) as everyone:
        everyone.set("one", 1)
    for client in clients:
        for options, shown in (
            ("noScan=True", "{'event': None, 'key': '%s', 'type': '%s', 'value': %s}"),
            ("noScan=True, readValue=False", "{'event': None, 'key': '%s'}"),
        ):
            for key, kind, value in (("one", "string", "'1'"), ("none", "empty", "None")):
                told = shown % ((key, kind, value) if "type" in shown else key)
                script = f"GB().run('{key}', {options})"
                assert client.execute_command("RG.PYEXECUTE", script) == [[told.encode()], []]


def test_more_records_than_fit_one_message_arrive_whole(cluster: Cluster) -> None:
    with cluster.masters[0].client() as client:
        script = (
            "def many():\n    for n in range(4000):\n        yield n\n"
            "GB('PythonReader').map(lambda n: 'x' * 100 + str(n)).collect().distinct().count().run(many)"
        )
        assert client.execute_command("RG.PYEXECUTE", script) == [[b"4000"], []]


def test_a_registration_is_on_every_shard_when_the_script_is_answered(cluster: Cluster) -> None:
    with cluster.masters[1].client() as client:
        register(client, answering_misses("q"))
    for shard in cluster.shards:
        with shard.master.client() as client:
            key = f"q{{{shard.hash_tag}}}"
            assert client.get(key) == f"answer for {key}".encode()


def test_unregistering_takes_it_from_every_shard(cluster: Cluster) -> None:
    with cluster.masters[0].client() as client:
        register(client, answering_misses("q"))
        (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
    with cluster.masters[2].client() as client:
        assert client.execute_command("RG.UNREGISTER", entry[1]) == b"OK"
    for master in cluster.masters:
        with master.client() as client:
            assert client.execute_command("RG.DUMPREGISTRATIONS") == []


def test_each_shard_is_told_that_it_has_the_registration(cluster: Cluster) -> None:
    script = (
        "def here():\n    execute('SET', 'here{%s}' % hashtag(), 1)\n"
        "GB('CommandReader').register(trigger='t', onRegistered=here)"
    )
    with cluster.masters[0].client() as client:
        register(client, script)
        wait_until(
            lambda: client.execute_command("RG.PYEXECUTE", "GB().count().run('here*')") == [[b"3"], []],
            10.0,
            "onRegistered has run on every shard",
        )


def test_an_upgrade_from_another_shard_replaces_it_everywhere(cluster: Cluster) -> None:
    script = "GB('CommandReader').map(lambda x: %d).register(trigger='t', mode='async_local')"
    for version, master in enumerate(cluster.masters):
        with master.client() as client:
            client.execute_command("RG.PYEXECUTE", script % version, "ID", "s", "UPGRADE")
    for master in cluster.masters:
        with master.client() as client:
            assert client.execute_command("RG.TRIGGER", "t") == [b"2"]
            assert len(client.execute_command("RG.DUMPREGISTRATIONS")) == 1


def test_an_error_of_one_shard_comes_with_the_results_of_the_others(cluster: Cluster) -> None:
    with cluster.masters[0].client() as client:
        tag = client.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').map(lambda x: hashtag()).run()")[
            0
        ][0]
        script = (
            f"def f(x):\n    if hashtag() == '{tag.decode()}': raise Exception('not here')\n    return 1\n"
        )
        results, errors = client.execute_command("RG.PYEXECUTE", script + "GB('ShardsIDReader').map(f).run()")
        assert results == [b"1", b"1"]
        assert len(errors) == 1 and b"not here" in errors[0]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_shard_that_does_not_answer_is_named_in_an_error(
    make_cluster: Callable[..., Cluster], how: signal.Signals
) -> None:
    cluster = make_cluster()
    with cluster.masters[0].client() as client:
        script = (
            "import time\ndef f(x):\n    execute('SET', 'started{%s}' % hashtag(), 1)\n    time.sleep(1)\n"
            "    return 1\n"
            "GB('ShardsIDReader').map(f).count().run()"
        )
        client.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').run()")  # the workers have started
        client.execute_command("RG.CONFIGSET", "ExecutionMaxIdleTime", 2500)
        started = client.execute_command("RG.PYEXECUTE", script, "UNBLOCKING")
        with cluster.masters[2].client() as third:
            wait_until(third.dbsize, GIVE_UP_S, "the third shard has started")
        lost = node_id(cluster.masters[2]).decode()
        os.kill(cluster.masters[2].pid, how)
        since = time.monotonic()
        try:
            results, errors = client.execute_command("RG.GETRESULTSBLOCKING", started)
        finally:
            if how == signal.SIGSTOP:
                os.kill(cluster.masters[2].pid, signal.SIGCONT)
        assert time.monotonic() - since < GIVE_UP_S
        assert results == [b"2"]
        why = f"shard {lost} did not answer within 2.5 s"
        assert errors == [why.encode()]
        assert cluster.masters[0].log.count(why) == 1, "it is said once"
        if how == signal.SIGKILL:
            again = client.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').count().run()")
            assert again == [[b"2"], [f"shard {lost} did not answer: it is not connected".encode()]]


def test_a_shard_that_was_away_follows(make_cluster: Callable[..., Cluster]) -> None:
    """A change that it did not take is an error that names it; it has it a moment after it is back."""
    cluster = make_cluster()
    _, away, other = cluster.masters
    away_id = node_id(away).decode()
    with contextlib.ExitStack() as stack:
        client, missing, third = (
            stack.enter_context(contextlib.closing(master.client())) for master in cluster.masters
        )
        register(client, answering_misses("old"))
        (entry,) = client.execute_command("RG.DUMPREGISTRATIONS")
        with stopped(away.pid):
            with pytest.raises(
                ResponseError, match=f"not all others: shard {away_id}: (it is down|no answer)"
            ):
                register(client, answering_misses("new"))
            with contextlib.suppress(ResponseError):  # where the cluster has found out by now it is not asked
                third.execute_command("RG.UNREGISTER", entry[1])
        wait_until(lambda: registered(missing) == registered(client), GIVE_UP_S, "it has what it missed")
        assert registered(client) == registered(third)
        assert len(registered(client)) == 1, "one removed meanwhile does not come back with it"
        other.restart()  # it saves nothing: its server and its worker begin anew
        wait_until(
            lambda: registered(third) == registered(client), GIVE_UP_S, "an empty shard has them again"
        )
        key = f"new{{{cluster.shards[2].hash_tag}}}"
        wait_until(lambda: third.get(key) == f"answer for {key}".encode(), GIVE_UP_S, "and serves again")


ENDLESS = """
import time
def endless():
    while True:
        time.sleep(0.01)
        yield 1
GB('PythonReader').run(endless)
"""


def test_what_one_shard_started_can_be_asked_for_on_any(clients: list[redis.Redis]) -> None:
    first, second, third = clients
    name = first.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').count().run()", "UNBLOCKING")
    assert second.execute_command("RG.GETRESULTSBLOCKING", name) == [[b"3"], []]
    assert third.execute_command("RG.GETRESULTS", name) == [[b"3"], []]
    assert len(second.execute_command("RG.GETEXECUTION", name)) == 3
    for client in clients:
        assert client.execute_command("RG.DUMPEXECUTIONS") == [
            [b"executionId", name, b"status", b"done", b"registered", 0]
        ]
    assert third.execute_command("RG.DROPEXECUTION", name) == b"OK"
    for client in clients:
        for command in ("RG.GETRESULTS", "RG.GETRESULTSBLOCKING", "RG.DROPEXECUTION"):
            with pytest.raises(ResponseError, match="execution plan does not exist"):
                client.execute_command(command, name)
    with pytest.raises(ResponseError, match="execution does not exist"):
        third.execute_command("RG.ABORTEXECUTION", f"{'0' * 40}-1")


def test_an_execution_is_aborted_from_any_shard(clients: list[redis.Redis]) -> None:
    first, second, third = clients
    name = first.execute_command("RG.PYEXECUTE", ENDLESS, "UNBLOCKING")
    with pytest.raises(ResponseError, match="execution is still running"):
        second.execute_command("RG.GETRESULTS", name)
    with pytest.raises(ResponseError, match="abort it with"):
        second.execute_command("RG.DROPEXECUTION", name)
    assert third.execute_command("RG.ABORTEXECUTION", name) == b"OK"
    assert second.execute_command("RG.GETRESULTSBLOCKING", name)[1] == [b"execution was aborted"]


def test_unregistering_with_abortpending_stops_runs_on_every_shard(
    cluster: Cluster, clients: list[redis.Redis]
) -> None:
    script = (
        "import time\ndef slow(record):\n    execute('SET', 'begun{%s}' % hashtag(), 1)\n"
        "    for _ in range(6000):\n        time.sleep(0.01)\n"
        "GB().foreach(slow).register('slow*', mode='async_local', eventTypes=['set'])"
    )
    clients[0].execute_command("RG.PYEXECUTE", script)
    for shard, client in zip(cluster.shards, clients, strict=True):
        client.set(f"slow{{{shard.hash_tag}}}", 1)
    for client in clients:
        wait_until(lambda client=client: client.keys("begun*"), GIVE_UP_S, "the function runs")  # type: ignore[misc]
    (entry,) = clients[0].execute_command("RG.DUMPREGISTRATIONS")
    assert clients[1].execute_command("RG.UNREGISTER", entry[1], "abortpending") == b"OK"
    for client in clients:
        wait_until(
            lambda client=client: client.execute_command("RG.PYDUMPSESSIONS", "DEAD") == [],  # type: ignore[misc]
            GIVE_UP_S,
            "nothing of the session runs",
        )


def test_inside_multi_no_other_shard_is_waited_for(clients: list[redis.Redis]) -> None:
    first, second, _ = clients
    register(first, answering_misses("q"))
    (entry,) = first.execute_command("RG.DUMPREGISTRATIONS")
    name = first.execute_command("RG.PYEXECUTE", "GB('ShardsIDReader').count().run()", "UNBLOCKING")
    first.execute_command("RG.GETRESULTSBLOCKING", name)
    with first.pipeline() as multi:
        multi.execute_command("RG.INFOCLUSTER")
        multi.execute_command("RG.GETEXECUTION", name)
        multi.execute_command("RG.UNREGISTER", entry[1])
        told, execution, gone = multi.execute()
    assert len(told[4]) == 3
    assert len(execution) == 1, "what this shard knows of it"
    assert gone == b"OK"
    wait_until(lambda: registered(second) == [], GIVE_UP_S, "the others follow")
