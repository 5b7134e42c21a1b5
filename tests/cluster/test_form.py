"""`keymiss form`: servers that run already become a cluster, wherever they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis
from support.processes import stopped
from support.server import Server
from support.waiting import wait_until

PROGRAM = Path(sys.executable).with_name("keymiss")
SETTINGS: dict[str, object] = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": 2000,
    "repl-ping-replica-period": 1,  # a replica stands in no slot map before its master's first ping
}


def form(*arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [PROGRAM, "form", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def node_map(server: Server) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Of each node its flags, its master's id and its slots, as the server sees it."""
    with closing(server.client()) as client:
        lines = [line.split() for line in client.execute_command("CLUSTER", "NODES").decode().splitlines()]
    return {line[0]: (line[2].removeprefix("myself,"), line[3], tuple(line[8:])) for line in lines}


def test_servers_become_masters_and_replicas_and_a_second_call_leaves_them_alone(
    make_server: Callable[..., Server],
) -> None:
    servers = [make_server(settings=SETTINGS, module=None) for _ in range(4)]
    addresses = [f"127.0.0.1:{server.port}" for server in servers]
    assert "4 servers, 2 of them masters" in form("--replicas", "1", *addresses)
    seen = node_map(servers[0])
    assert sorted(slots for flags, _, slots in seen.values() if flags == "master") == [
        ("0-8191",),
        ("8192-16383",),
    ]
    masters = {node for node, (flags, _, _) in seen.items() if flags == "master"}
    assert {master for flags, master, _ in seen.values() if flags == "slave"} == masters
    with closing(redis.RedisCluster(host="127.0.0.1", port=servers[0].port, protocol=2)) as client:
        client.set("kept", 1)
        form("--replicas", "1", *addresses)
        assert client.get("kept") == b"1"
    assert node_map(servers[0]) == seen


def test_a_replica_follows_its_master_also_where_that_has_given_slots_away(
    make_server: Callable[..., Server],
) -> None:
    first, second, *replicas = [make_server(settings=SETTINGS, module=None) for _ in range(4)]
    masters = [f"127.0.0.1:{server.port}" for server in (first, second)]
    form(*masters)
    with closing(first.client()) as source, closing(second.client()) as target:
        ids = [client.execute_command("CLUSTER", "MYID").decode() for client in (source, target)]
        target.execute_command("CLUSTER", "SETSLOT", 0, "IMPORTING", ids[0])
        source.execute_command("CLUSTER", "SETSLOT", 0, "MIGRATING", ids[1])
        for client in (target, source):
            client.execute_command("CLUSTER", "SETSLOT", 0, "NODE", ids[1])
    form("--replicas", "1", *masters, *(f"127.0.0.1:{server.port}" for server in replicas))
    followed = [master for flags, master, _ in node_map(first).values() if flags == "slave"]
    assert sorted(followed) == sorted(ids)


def test_it_tells_what_the_cluster_is_also_where_that_is_not_what_was_asked_for(
    make_server: Callable[..., Server],
) -> None:
    """Slots stay where they are, so a third server becomes a replica."""
    servers = [make_server(settings=SETTINGS, module=None) for _ in range(3)]
    addresses = [f"127.0.0.1:{server.port}" for server in servers]
    assert "A cluster of 2 servers, 2 of them masters." in form(*addresses[:2])
    assert "A cluster of 3 servers, 2 of them masters." in form(*addresses)
    assert "A cluster of 3 servers, 2 of them masters." in form(addresses[0])


def test_a_cluster_bus_that_is_not_reached_is_named(make_server: Callable[..., Server]) -> None:
    servers = [make_server(settings=SETTINGS, module=None) for _ in range(2)]
    said = form("--wait", "1", *(f"127.0.0.1:{server.port}@1" for server in servers), status=1)
    assert "has not met the others: they have to reach its cluster bus, on port 1" in said


def test_a_replica_that_begins_to_load_what_its_master_has_is_waited_for(
    make_server: Callable[..., Server],
) -> None:
    slowly = {"key-load-delay": 5000, "loading-process-events-interval-bytes": 1024}  # us, for each key
    settings = {**SETTINGS, **slowly, "enable-debug-command": "yes", "appendonly": "no"}
    master, _, replica, last = servers = [make_server(settings=settings, module=None) for _ in range(4)]
    addresses = [f"127.0.0.1:{server.port}" for server in servers]
    command = [str(PROGRAM), "form", "--wait", "60", "--replicas", "1", *addresses]
    subprocess.run(command, check=True, timeout=180)
    with closing(master.client()) as client, closing(replica.client()) as looking:
        with client.pipeline(transaction=False) as pipeline:
            for n in range(1000):
                pipeline.set(f"{{b}}{n}", "x" * 100)
            pipeline.execute()
        last.stop()
        with subprocess.Popen(command) as forming:  # asks one after the other, and waits for the last
            wait_until(lambda: looking.client_list(_type="normal")[1:], 20.0, "the replica is asked")
            client.execute_command("DEBUG", "CHANGE-REPL-ID")  # it has to begin anew
            client.execute_command("CLIENT", "KILL", "TYPE", "REPLICA")
            wait_until(lambda: looking.info("persistence")["loading"] == 1, 20.0, "the replica loads")
            last.start()
            assert forming.wait(180) == 0
        assert looking.dbsize() == 1000


def test_a_server_that_wants_a_password_or_no_cluster_is_named(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, alone = make_server(settings=SETTINGS, module=None), make_server(module=None)
    addresses = [f"127.0.0.1:{one.port}" for one in (server, alone)]
    assert f"{addresses[1]} has no `cluster-enabled yes`" in form(*addresses, status=1)
    with closing(server.client()) as client:
        client.config_set("requirepass", "secret")
        assert f"{addresses[0]}: Authentication required" in form(addresses[0], status=1)
        monkeypatch.setenv("KEYMISS_PASSWORD", "secret")
        assert "A cluster of 1 server, " in form(addresses[0])
        client.config_set("requirepass", "")


def test_a_server_that_hangs_is_named(make_server: Callable[..., Server]) -> None:
    servers = [make_server(settings=SETTINGS, module=None) for _ in range(2)]
    with stopped(servers[1].pid):
        said = form("--wait", "1", *(f"127.0.0.1:{server.port}" for server in servers), status=1)
    assert f"127.0.0.1:{servers[1].port} does not answer" in said


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("shard-1",), 2, "write it as HOST:PORT"),
        (("shard-1:60000",), 2, "70000 is no port"),
        (("a:1", "b:1", "c:1", "--replicas", "1"), 2, "3 servers cannot be masters with 1 replica each"),
        (("127.0.0.1:1", "--wait", "1"), 1, "127.0.0.1:1 does not answer"),
    ],
)
def test_a_wrong_call_is_told_in_words(arguments: tuple[str, ...], status: int, complaint: str) -> None:
    assert complaint in form(*arguments, status=status)
