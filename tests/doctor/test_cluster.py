"""What `keymiss doctor` says of a cluster in which something is broken, and that its own commands mend it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from keymiss_deploy.cluster.checks import GROUP, deployed, health, places, reading, workers
from keymiss_deploy.cluster.checks.reading import Reading, read_cluster
from keymiss_deploy.cluster.listener import listener
from keymiss_deploy.cluster.monitor_layout import Monitor
from support.command_line import CommandLine, command_line
from support.processes import runs, stopped
from support.server import Server, new_client
from support.waiting import wait_until

from keymiss.client import Address, read_registrations
from keymiss.doctor.check import Finding, Outcome, Place, examine

DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def keymiss(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A cluster of two shards, with a replica each; nothing is deployed. Tests mend what they break."""
    with command_line(server_kind, tmp_path_factory.mktemp("examined here")) as started:
        started.up("--shards", "2", "--replicas", "1")
        yield started


def place(keymiss: CommandLine) -> Place:
    return Place(keymiss.folder / ".keymiss")


def findings(where: Place, check: str) -> list[Finding]:
    """What one check says, other than that all is well."""
    found = [one for one in examine([GROUP], where) if one.check == check]
    return [one.finding for one in found if one.finding.outcome is not Outcome.OK]


def wrong(where: Place, check: str, said: str) -> Finding:
    """The finding that says this, once it is there."""

    def found() -> Finding | None:
        return next((one for one in findings(where, check) if said in one.found), None)

    finding = wait_until(found, DEADLINE_S, f"{check} says {said!r}")
    assert finding is not None
    return finding


def mend(keymiss: CommandLine, finding: Finding) -> None:
    """Run the finding's own command."""
    programs = Path(sys.executable).parent
    subprocess.run(
        ["bash", "-c", finding.mend],
        cwd=keymiss.folder,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=True,
    )


def wait_until_well(where: Place, check: str) -> None:
    wait_until(lambda: not findings(where, check), DEADLINE_S, f"{check} is well again")


def test_a_cluster_that_is_well_has_no_failures(keymiss: CommandLine) -> None:
    found = list(examine([GROUP], place(keymiss)))
    assert not [one for one in found if one.finding.outcome is Outcome.FAIL]
    told = {one.check: one.finding.found for one in found if one.finding.outcome is Outcome.OK}
    assert told["shards"] == "4 servers answer"
    assert told["slots"] == "all 16384 are served by 2 shards"
    assert told["replication"] == "all replicas follow"


def test_a_shard_that_died_is_named_and_started_again_by_the_command_it_gives(keymiss: CommandLine) -> None:
    (victim,) = [one for one in keymiss.status()["shards"] if one["name"] == "shard-2-replica-1"]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_until(lambda: not runs(victim["pid"]), DEADLINE_S, "it has ended")
    finding = wrong(place(keymiss), "shards", "shard-2-replica-1")
    assert "does not run" in finding.found
    with closing(socket.create_server(("127.0.0.1", victim["port"]))):
        taken = wrong(place(keymiss), "ports", str(victim["port"]))
        assert f"(pid {os.getpid()})" in taken.found
    mend(keymiss, finding)
    wait_until_well(place(keymiss), "shards")
    wait_until_well(place(keymiss), "replication")


def test_who_listens_is_named_though_another_of_its_files_is_closed_meanwhile() -> None:
    earlier = os.open(os.devnull, os.O_RDONLY)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        os.close(earlier)  # the listing of our files takes its number, and is closed when that is looked at
        assert f"(pid {os.getpid()})" in listener(server.getsockname()[1])


def test_a_server_that_hangs_is_told_within_a_deadline(
    keymiss: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TIMEOUT_S", 1.0)
    (victim,) = [one for one in keymiss.status()["shards"] if one["name"] == "shard-1-replica-1"]
    with stopped(victim["pid"]):
        finding = wrong(place(keymiss), "shards", "and does not answer")
    assert f"kill -9 {victim['pid']}" in finding.mend
    wait_until_well(place(keymiss), "shards")


def test_a_password_that_servers_of_up_do_not_have_is_told(
    keymiss: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYMISS_PASSWORD", "theirs")
    assert wrong(place(keymiss), "shards", "wants no password").mend == "unset KEYMISS_PASSWORD"


def test_a_password_that_is_missing_or_wrong_is_told(
    make_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(module=None)
    where = Place(tmp_path, port=server.port)
    with closing(server.client()) as client:
        client.config_set("requirepass", "secret")
        assert wrong(where, "shards", "wants a password").mend == "export KEYMISS_PASSWORD=..."
        monkeypatch.setenv("KEYMISS_PASSWORD", "wrong")
        assert wrong(where, "shards", "wants a password").mend == "export KEYMISS_PASSWORD=..."
        client.config_set("requirepass", "")


def test_slots_that_nobody_serves_are_named_and_served_again(keymiss: CommandLine) -> None:
    with closing(new_client(keymiss.port)) as client:
        client.execute_command("CLUSTER", "DELSLOTSRANGE", 10, 19)
    finding = wrong(place(keymiss), "slots", "nobody serves slots 10-19")
    mend(keymiss, finding)
    wait_until_well(place(keymiss), "slots")


def test_a_worker_that_dies_is_told_of(keymiss: CommandLine) -> None:
    with closing(new_client(keymiss.port)) as client:
        client.execute_command("RG.PYEXECUTE", "pass")
        before = client.info("keymiss")["keymiss_functions_worker"]
        os.kill(before["pid"], signal.SIGKILL)
        wait_until(lambda: not runs(before["pid"]), DEADLINE_S, "it has ended")
        wait_until(
            lambda: client.execute_command("RG.PYEXECUTE", "pass"), DEADLINE_S, "another runs functions"
        )
    finding = wrong(place(keymiss), "functions workers", "was started again")
    assert "shard-1 " in finding.found


def test_a_models_worker_without_its_keeper_is_told_and_started_again(keymiss: CommandLine) -> None:
    (worker,) = [one for one in keymiss.status()["workers"] if one["port"] is None]
    for pid in (worker["keeper_pid"], worker["pid"]):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not runs(pid), DEADLINE_S, "it has ended")
    mend(keymiss, wrong(place(keymiss), "models workers", "shared models worker does not run"))
    wait_until_well(place(keymiss), "models workers")


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("maxmemory-policy", "allkeys-lru", "evicts any key"),
        ("keymiss.busy-timeout-ms", "60000", "nobody ever gets -BUSY"),
    ],
)
def test_settings_that_contradict_each_other_are_told_and_changed(
    keymiss: CommandLine, setting: str, value: str, said: str
) -> None:
    with closing(new_client(keymiss.port)) as client:
        client.config_set("maxmemory", 1 << 30)
        client.config_set(setting, value)
        mend(keymiss, wrong(place(keymiss), "settings", said))
        wait_until_well(place(keymiss), "settings")
        client.config_set("maxmemory", 0)
    for finding in findings(place(keymiss), "same settings"):
        mend(keymiss, finding)
    wait_until_well(place(keymiss), "same settings")


def test_a_setting_that_differs_between_shards_is_told_and_made_the_same(keymiss: CommandLine) -> None:
    with closing(new_client(keymiss.port + 1)) as client:
        client.config_set("keymiss.job-timeout-ms", 12345)
    finding = wrong(place(keymiss), "same settings", "keymiss.job-timeout-ms is '30000', but not on shard-2")
    mend(keymiss, finding)
    wait_until_well(place(keymiss), "same settings")


def test_a_setting_that_servers_refuse_to_change_is_made_the_same_by_a_restart(keymiss: CommandLine) -> None:
    keymiss.restart("shard-1-replica-1", "keymiss.python", "/no/such/python")
    mend(keymiss, wrong(place(keymiss), "same settings", "but not on shard-1-replica-1"))
    wait_until_well(place(keymiss), "same settings")
    wait_until_well(place(keymiss), "replication")


def test_memory_that_is_nearly_full_is_told_and_given_more(keymiss: CommandLine) -> None:
    with closing(new_client(keymiss.port)) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"])
        mend(keymiss, wrong(place(keymiss), "memory", "of its maxmemory"))
        wait_until_well(place(keymiss), "memory")
        client.config_set("maxmemory", 0)


def test_paragraphs_without_tokens_and_what_was_not_deployed_are_told(keymiss: CommandLine) -> None:
    with closing(new_client(keymiss.port)) as client:
        client.hset("sentence:article:{06S}", "1", "A sentence that nobody has tokenised.")
        assert "0 of 1 paragraphs" in wrong(place(keymiss), "tokens", "paragraphs").found
        client.delete("sentence:article:{06S}")
    assert wrong(place(keymiss), "functions", "none is deployed").mend.startswith("keymiss deploy")
    assert wrong(place(keymiss), "models", "none is stored").mend.startswith("keymiss model store")


def test_a_model_that_is_not_on_every_shard_is_named(keymiss: CommandLine) -> None:
    found = read_cluster(place(keymiss))
    stored = [replace(one, models=("m{06S}",)) if one.port == keymiss.port else one for one in found.servers]
    (finding,) = deployed.models(replace(found, servers=tuple(stored)))
    assert finding.found == f"m is not on shard-2 (port {keymiss.port + 1})"


def test_a_model_under_a_hash_tag_that_the_shard_had_before_is_missing(keymiss: CommandLine) -> None:
    found = read_cluster(place(keymiss))
    first, *others = found.servers
    moved = [replace(first, models=("m{06S}",)), *(replace(one, models=("m{zz}",)) for one in others)]
    (finding,) = deployed.models(replace(found, servers=tuple(moved)))
    assert finding.found == f"m is not on shard-2 (port {keymiss.port + 1})"


def test_a_monitor_that_was_asked_for_and_does_not_run_is_told(keymiss: CommandLine) -> None:
    found = read_cluster(place(keymiss))
    assert found.layout is not None
    assert list(workers.monitor(found)) == []
    watched = replace(found, layout=replace(found.layout, monitor=Monitor()))
    assert [one.found.partition(";")[0] for one in workers.monitor(watched)] == [
        "prometheus does not run",
        "exporter does not run",
    ]


def test_versions_and_clocks_that_differ_are_told(keymiss: CommandLine) -> None:
    found = read_cluster(place(keymiss))
    assert [one.outcome for one in health.clocks(found)] == [Outcome.OK]

    def changed(**fields: object) -> Reading:
        first, *others = found.servers
        return replace(found, servers=(replace(first, **fields), *others))  # type: ignore[arg-type]

    (finding,) = health.module(changed(modules={"keymiss": 42}))
    assert "has version 42" in finding.found
    (finding,) = health.clocks(changed(skew_s=-3.0))
    assert "is -3.0 s from this one" in finding.found


def test_somebody_else_on_a_port_of_metrics_is_told(
    keymiss: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_cluster(place(keymiss))
    assert found.layout is not None
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        watched = replace(found, layout=replace(found.layout, monitor=Monitor(port - 3)))
        monkeypatch.setattr(workers, "state", lambda layout: [{"name": "prometheus", "pid": 1, "url": "x"}])
        told = list(workers.monitor(watched))
    assert Outcome.OK not in [one.outcome for one in told]
    said = [one.found for one in told]
    assert any(
        f"port {port} of the metrics of the functions worker of shard-1 is taken" in one for one in said
    )


def test_a_cluster_json_that_is_damaged_is_told_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"shards": "many"}', '{"port": 1, "server": 7}'):
        (tmp_path / "cluster.json").write_text(text)
        found = list(examine([GROUP], Place(tmp_path)))
        assert any(one.finding.outcome is Outcome.FAIL for one in found), text
    (tmp_path / "cluster.json").write_text("{")
    assert "is damaged" in wrong(Place(tmp_path), "cluster.json", "damaged").found


def test_a_server_without_the_module_is_told_and_loads_it_by_the_command_it_gives(
    make_server: Callable[..., Server], keymiss: CommandLine
) -> None:
    server = make_server(module=None, settings={"enable-module-command": "yes"})
    where = Place(keymiss.folder, port=server.port)
    mend(keymiss, wrong(where, "module", "does not have it"))
    wait_until_well(where, "module")


def test_a_server_is_looked_at_once_though_its_host_has_several_names(
    keymiss: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Address, "host", "localhost")
    found = read_cluster(Place(keymiss.folder, port=keymiss.port))
    assert sorted((server.host, server.port) for server in found.servers) == [
        ("127.0.0.1", keymiss.port + n) for n in range(4)
    ]


def test_models_in_a_folder_that_was_asked_for_are_no_sign_of_a_move(keymiss: CommandLine) -> None:
    found = read_cluster(place(keymiss))
    assert found.layout is not None
    elsewhere = {"keymiss.models-dir": "/elsewhere"}
    servers = tuple(replace(one, settings={**one.settings, **elsewhere}) for one in found.servers)
    assert [one.outcome for one in places.folder(replace(found, servers=servers))] == [Outcome.FAIL]
    layout = replace(found.layout, settings=elsewhere)
    assert list(places.folder(replace(found, servers=servers, layout=layout))) == []


def test_a_server_that_takes_no_modules_while_it_runs_is_told_where_to_name_it(
    make_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Place(tmp_path, port=make_server(module=None).port)
    assert wrong(where, "module", "does not have it").mend.startswith("loadmodule /")

    def missing() -> Path:
        raise FileNotFoundError("build it")

    monkeypatch.setattr(health.keymiss, "module_path", missing)
    assert wrong(where, "module", "does not have it").mend == "build it"


def test_a_function_that_fails_is_told_with_the_shard_where_it_does(keymiss: CommandLine) -> None:
    script = "GB('CommandReader').map(lambda record: 1 / 0).register(trigger='fails')"
    with closing(new_client(keymiss.port)) as first, closing(new_client(keymiss.port + 1)) as second:
        first.execute_command("RG.PYEXECUTE", script, "ID", "failing")
        wait_until(lambda: read_registrations(second), DEADLINE_S, "the other shard has it")
        with suppress(redis.ResponseError):
            second.execute_command("RG.TRIGGER", "fails")
        (finding,) = findings(place(keymiss), "functions")
        assert "failing on CommandReader has failed 1 times on shard-2" in finding.found
        assert f"-p {keymiss.port + 1} " in finding.mend
        (row,) = first.execute_command("RG.DUMPREGISTRATIONS")
        first.execute_command("RG.UNREGISTER", row[1])


def test_a_replica_without_its_master_and_a_save_that_failed_are_told(
    make_server: Callable[..., Server], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    server = make_server(settings={"replicaof": "127.0.0.1 1", "enable-protected-configs": "yes"})
    where = Place(tmp_path, port=server.port)
    assert "has lost its master 127.0.0.1:1" in wrong(where, "replication", "lost").found
    with closing(server.client()) as client:
        client.config_set("dir", str(gone))
        gone.rmdir()
        client.bgsave()
        assert "rdb_last_bgsave_status is err" in wrong(where, "persistence", "err").found


def test_a_server_that_is_not_there_is_a_failure_and_no_exception(tmp_path: Path) -> None:
    assert "does not answer" in wrong(Place(tmp_path, port=1), "shards", "answer").found
