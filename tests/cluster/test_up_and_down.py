"""`keymiss up`, `status` and `down` on plain servers: what they do does not depend on the module."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import redis
from keymiss_deploy.cluster import ready
from keymiss_deploy.cluster.layout import read_layout
from keymiss_deploy.cluster.lifecycle import bring_up
from support.command_line import CommandLine
from support.processes import runs, stopped
from support.server import new_client
from support.waiting import wait_until

FAILOVER_DEADLINE_S = 60.0


def test_up_makes_a_cluster_that_takes_writes_on_every_shard(keymiss: CommandLine) -> None:
    keymiss.up("--plain")
    with closing(redis.RedisCluster(host="127.0.0.1", port=keymiss.port, protocol=2)) as client:
        for n in range(100):
            client.set(f"key-{n}", n)
    status = keymiss.status()
    assert [shard["role"] for shard in status["shards"]] == ["master"] * 3
    assert [shard["slots"] for shard in status["shards"]] == [[[0, 5460]], [[5461, 10922]], [[10923, 16383]]]
    assert [shard["hash_tag"] for shard in status["shards"]] == ["06S", "8M", "63n"]
    assert all(shard["keys"] > 0 for shard in status["shards"])


def test_a_second_up_finds_the_first(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--shards", "1")
    pids = [shard["pid"] for shard in keymiss.status()["shards"]]
    assert "was up already: 1 shard" in keymiss("up")
    assert [shard["pid"] for shard in keymiss.status()["shards"]] == pids


def test_two_at_the_same_time_take_turns(keymiss: CommandLine) -> None:
    up = ("--plain", "--shards", "1")
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda _: keymiss.up(*up), range(2)))
    assert sorted("was up already" in one for one in said) == [False, True]
    assert any("waiting for another" in one for one in said)
    (shard,) = keymiss.status()["shards"]
    assert runs(shard["pid"])
    keymiss("down")
    assert not runs(shard["pid"])


def test_up_starts_what_is_missing_and_loses_nothing(keymiss: CommandLine) -> None:
    keymiss.up("--plain")
    victim = keymiss.status()["shards"][1]
    with closing(new_client(victim["port"])) as client:
        client.set("key{8M}", "kept")
    os.kill(victim["pid"], signal.SIGTERM)
    wait_until(lambda: not runs(victim["pid"]), 15.0, "the shard has ended")
    status = keymiss.status(exit_status=1)
    assert [shard["answers"] for shard in status["shards"]] == [True, False, True]
    assert "started shard-2" in keymiss("up")
    with closing(new_client(victim["port"])) as client:
        assert client.get("key{8M}") == b"kept"


def test_a_replica_takes_over_and_up_brings_the_old_master_back_as_replica(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--replicas", "1")
    shards = keymiss.status()["shards"]
    assert [shard["role"] for shard in shards] == ["master", "replica"] * 3
    os.kill(shards[0]["pid"], signal.SIGKILL)
    with closing(new_client(shards[1]["port"])) as replica:
        wait_until(
            lambda: replica.info("replication")["role"] == "master",
            FAILOVER_DEADLINE_S,
            "the replica is master",
        )
    keymiss("up")
    roles = {shard["port"]: shard["role"] for shard in keymiss.status()["shards"]}
    assert (roles[shards[0]["port"]], roles[shards[1]["port"]]) == ("replica", "master")


def test_commands_find_a_cluster_whose_first_server_is_down_or_a_replica(keymiss: CommandLine) -> None:
    (keymiss.folder / "short.txt").write_text("It is short.")
    (keymiss.folder / "empty.py").write_text("")
    keymiss.up("--shards", "1", "--replicas", "1")
    first, second = keymiss.status()["shards"]
    os.kill(first["pid"], signal.SIGKILL)
    with closing(new_client(second["port"])) as replica:
        wait_until(
            lambda: replica.info("replication")["master_link_status"] == "down", 15.0, "its master is lost"
        )
        replica.execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
    for _ in ("down", "a replica"):
        assert "on 1 shard" in keymiss("load", "short.txt")
        assert "Deployed empty" in keymiss("deploy", "empty.py")
        keymiss("up")


def test_status_shows_the_others_while_the_first_server_hangs(keymiss: CommandLine) -> None:
    keymiss.up("--plain")
    first = keymiss.status()["shards"][0]
    with stopped(first["pid"]):
        found = keymiss.status(exit_status=1)
    assert [shard["answers"] for shard in found["shards"]] == [False, True, True]


def test_up_leaves_slots_where_they_were_moved(keymiss: CommandLine) -> None:
    keymiss.up("--plain")
    first, second, _ = keymiss.status()["shards"]
    with closing(new_client(first["port"])) as target, closing(new_client(second["port"])) as source:
        ids = [client.execute_command("CLUSTER", "MYID") for client in (target, source)]
        slot = second["slots"][0][0]
        target.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[1])
        source.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[0])
        for client in (target, source):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[0])
    assert "was up already" in keymiss("up")
    assert [shard["slots"] for shard in keymiss.status()["shards"][:2]] == [[[0, slot]], [[slot + 1, 10922]]]


def test_down_leaves_nothing_running_and_up_brings_the_data_back(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--shards", "1")
    with closing(new_client(keymiss.port)) as client:
        client.set("key", "kept")
    pids = [shard["pid"] for shard in keymiss.status()["shards"]]
    assert "Stopped shard-1" in keymiss("down")
    assert not any(runs(pid) for pid in pids)
    assert "Nothing ran" in keymiss("down")
    keymiss("up")
    with closing(new_client(keymiss.port)) as client:
        assert client.get("key") == b"kept"


def test_a_server_that_loads_for_long_is_waited_for(
    keymiss: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly = ("--set", "key-load-delay=10000", "--set", "loading-process-events-interval-bytes=1024")
    keymiss.up("--plain", "--shards", "1", *slowly)
    with closing(new_client(keymiss.port)) as client, client.pipeline(transaction=False) as pipeline:
        for n in range(300):
            pipeline.set(f"key-{n}", "x" * 100)
        pipeline.execute()
        client.bgrewriteaof()
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 15.0, "it is one file")
    keymiss("down")
    monkeypatch.setattr(ready, "ANSWER_DEADLINE_S", 1.0)
    layout = read_layout(keymiss.folder / ".keymiss")
    assert layout is not None
    said: list[str] = []
    bring_up(layout, said.append)
    assert said == ["shard-1 is loading its data", f"started shard-1 on port {keymiss.port}"]
    keymiss.restart("shard-1", "port", str(keymiss.port))
    said.clear()
    assert bring_up(layout, said.append) == []
    assert said == ["shard-1 is loading its data"]


def test_down_delete_removes_the_folder(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--shards", "1")
    keymiss("down", "--delete")
    assert not (keymiss.folder / ".keymiss").exists()
    assert "no cluster" in keymiss("down")


def test_down_delete_leaves_what_is_not_the_cluster_s(keymiss: CommandLine) -> None:
    (keymiss.folder / "notes.txt").write_text("kept")
    keymiss.up("--plain", "--shards", "1", "--dir", ".")
    said = keymiss("down", "--delete", "--dir", ".")
    assert "There is left: notes.txt." in said
    assert [path.name for path in keymiss.folder.iterdir()] == ["notes.txt"]


def test_up_takes_no_folder_that_it_has_not_made(keymiss: CommandLine) -> None:
    (keymiss.folder / ".keymiss" / "models").mkdir(parents=True)
    up = ("up", "--plain", "--port", str(keymiss.port), "--server", keymiss.server)
    assert "models would be the cluster's, and is there already" in keymiss(*up, status=1)


def test_a_port_that_is_taken_is_named(keymiss: CommandLine) -> None:
    with closing(socket.create_server(("127.0.0.1", keymiss.port + 1))):
        said = keymiss("up", "--plain", "--port", str(keymiss.port), "--server", keymiss.server, status=1)
    assert f"port {keymiss.port + 1} of shard-2 is taken by another program" in said


def test_a_password_of_other_servers_is_told(keymiss: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--plain", "--shards", "1", "--port", str(keymiss.port), "--server", keymiss.server)
    monkeypatch.setenv("KEYMISS_PASSWORD", "theirs")
    assert "unset KEYMISS_PASSWORD" in keymiss("up", *options, status=1)
    said = keymiss("up", "--set", "maxmemory=1gb", status=1)
    assert "unset KEYMISS_PASSWORD" in said
    assert "while it runs" not in said
    said = keymiss("status", "--dir", "elsewhere", "--port", str(keymiss.port), status=1)
    assert "without any password configured" in said
    monkeypatch.delenv("KEYMISS_PASSWORD")
    keymiss("up")


def test_a_server_that_does_not_start_shows_its_log(keymiss: CommandLine) -> None:
    options = ("--plain", "--port", str(keymiss.port), "--server", keymiss.server, "--set", "maxmemory=lots")
    said = keymiss("up", *options, status=1)
    assert "shard-1 ended at once" in said
    assert "maxmemory" in said


def test_settings_with_which_no_server_of_a_new_cluster_starts_are_forgotten(keymiss: CommandLine) -> None:
    up = ("--plain", "--shards", "1", "--set")
    port = ("--port", str(keymiss.port), "--server", keymiss.server)
    assert "ended at once" in keymiss("up", *port, *up, "maxmemroy=1gb", status=1)
    keymiss("up", "--set", "maxmemory=1gb")
    with closing(new_client(keymiss.port, decode_responses=True)) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(1 << 30)}


@pytest.mark.parametrize("letter", "*?[")
def test_a_folder_that_servers_would_take_for_a_pattern_is_refused(keymiss: CommandLine, letter: str) -> None:
    said = keymiss("up", "--plain", "--dir", f"a{letter}b", "--port", str(keymiss.port), status=1)
    assert f"a{letter}b" in said and "choose another --dir" in said
    assert not (keymiss.folder / f"a{letter}b").exists()


def test_a_cluster_of_another_shape_in_the_folder_is_refused(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--shards", "1")
    assert "has shards 1, not 2" in keymiss("up", "--shards", "2", status=1)


def test_settings_reach_the_servers(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--shards", "1", "--set", "maxmemory-policy=allkeys-lru")
    with closing(new_client(keymiss.port, decode_responses=True)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


def test_a_later_up_changes_settings_for_good(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--shards", "1", "--set", "maxmemory-policy=allkeys-lru")
    keymiss("up", "--set", "maxmemory=1gb")
    wanted = {"maxmemory": str(1 << 30), "maxmemory-policy": "allkeys-lru", "tcp-backlog": "511"}
    with closing(new_client(keymiss.port, decode_responses=True)) as client:
        assert client.config_get(*wanted) == wanted
    for refused, why in (
        (("--set", "tcp-backlog=99"), "does not take that while it runs"),
        (("--monitor-port", "65535"), "too high"),
    ):
        assert why in keymiss("up", "--set", "maxmemory=2gb", *refused, status=1)
        with closing(new_client(keymiss.port, decode_responses=True)) as client:
            assert client.config_get(*wanted) == wanted
    keymiss("down")
    assert "shard-1 ended at once" in keymiss("up", "--set", "maxmemroy=1gb", status=1)
    keymiss("up", "--set", "tcp-backlog=99")
    with closing(new_client(keymiss.port, decode_responses=True)) as client:
        assert client.config_get(*wanted) == {**wanted, "tcp-backlog": "99"}
        client.config_set("maxmemory-policy", "noeviction")
        keymiss("up", "--set", "MaxMemory-Policy=allkeys-lru", "--set", "tcp-backlog=99")
        assert client.config_get(*wanted) == {**wanted, "tcp-backlog": "99"}


def test_a_setting_may_have_several_words(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--shards", "1", "--set", "save=900 1 300 100")
    replicas = "slave 1048576 1048576 60"
    keymiss("up", "--set", f"client-output-buffer-limit={replicas}")
    keymiss("down")
    keymiss("up")
    with closing(new_client(keymiss.port, decode_responses=True)) as client:
        assert client.config_get("save") == {"save": "900 1 300 100"}
        assert replicas in client.config_get("client-output-buffer-limit")["client-output-buffer-limit"]


def test_a_setting_that_is_given_two_values_is_refused(keymiss: CommandLine) -> None:
    said = keymiss("up", "--set", "save=900 1", "--set", "Save=300 100", status=2)
    assert "save: two values" in said


@pytest.mark.parametrize("setting", ["Dir=/tmp", "PORT=1", "keymiss.metrics-port=1"])
def test_a_setting_that_each_server_has_of_its_own_is_refused(keymiss: CommandLine, setting: str) -> None:
    assert f"Invalid value for '--set': {setting.partition('=')[0]}: " in keymiss(
        "up", "--set", setting, status=2
    )


def test_status_without_a_cluster_says_so(keymiss: CommandLine) -> None:
    assert "no cluster in" in keymiss("status", status=1)


def test_status_shows_a_server_that_up_did_not_make(keymiss: CommandLine) -> None:
    keymiss.up("--plain", "--shards", "1")
    said = keymiss("status", "--dir", "elsewhere", "--port", str(keymiss.port))
    assert str(keymiss.port) in said
    assert "06S" in said
