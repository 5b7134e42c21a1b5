"""What `keymiss doctor` says of an installation and a machine, and that nothing broken stops it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from support.paths import module_path
from support.server import KINDS, Server

from keymiss.doctor import installation as installations
from keymiss.doctor import machine as machines
from keymiss.doctor import servers
from keymiss.doctor.check import Check, Finding, Group, Outcome, Place, examine, ok
from keymiss.doctor.trial import try_module

PROGRAM = Path(sys.executable).with_name("keymiss")
OLD = "#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0 malloc=libc bits=64'\n"


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


# The command


def test_doctor_finds_nothing_wrong_with_this_installation(tmp_path: Path, server_kind: str) -> None:
    done = subprocess.run(
        [PROGRAM, "doctor", "--json", "--server", KINDS[server_kind]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = json.loads(done.stdout)
    wrong = [one for one in found if one["outcome"] == "fail" and one["check"] not in ("ports", "disk")]
    assert not wrong, done.stderr
    assert done.returncode == (1 if any(one["outcome"] == "fail" for one in found) else 0)
    assert {one["group"] for one in found} == {"installation", "machine", "servers", "cluster"}
    assert all(one["mend"] for one in found if one["outcome"] != "ok")
    assert any(one["check"] == "functions worker" and "a function ran" in one["found"] for one in found)


def test_doctor_looks_at_the_server_that_the_environment_names(tmp_path: Path, server: Server) -> None:
    done = subprocess.run(
        [PROGRAM, "doctor", "cluster", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "KEYMISS_PORT": str(server.port)},
    )
    found = {one["check"]: one["found"] for one in json.loads(done.stdout)}
    assert found["shards"] == "1 server answers"


def test_doctor_without_any_server_program_says_how_to_install_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(
        [PROGRAM, "doctor"], cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.returncode == 1
    assert "neither redis-server nor valkey-server is installed" in done.stdout
    assert "apt-get install redis-server" in done.stdout


def test_groups_can_be_chosen_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        call = [PROGRAM, "doctor", *arguments]
        return subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    found = json.loads(run("machine", "cluster", "--json").stdout)
    assert {one["group"] for one in found} == {"machine", "cluster"}
    refused = run("clusters")
    assert refused.returncode == 2
    assert "no group clusters: there are installation, machine, servers, cluster" in refused.stderr


def test_a_check_or_a_group_that_breaks_is_a_failure_and_the_others_go_on(tmp_path: Path) -> None:
    def breaks(_: Any) -> list[Finding]:
        raise ZeroDivisionError("of a broken system")

    broken = Group("unreadable", lambda place: 1 // 0, ())
    group = Group("readable", lambda place: place, (Check("a", breaks), Check("b", lambda _: [ok("fine")])))
    results = list(examine([broken, group], Place(tmp_path)))
    assert [(one.check, one.finding.outcome) for one in results] == [
        ("unreadable", Outcome.FAIL),
        ("a", Outcome.FAIL),
        ("b", Outcome.OK),
    ]
    assert "ZeroDivisionError: of a broken system" in results[1].finding.found


# Servers and the module


def test_a_server_that_is_too_old_is_named_with_its_version(tmp_path: Path) -> None:
    old = program(tmp_path, "redis-server", OLD)
    installed = servers.read_installed(Place(tmp_path, server=str(old)))
    finding = next(one for one in servers.servers(installed) if str(old) in one.found)
    assert finding.outcome is Outcome.FAIL
    assert "Redis 6.2.14" in finding.found
    assert only(servers.module(installed)).outcome is Outcome.FAIL  # it cannot be tried in this one


def test_a_program_that_is_no_server_or_not_there_is_told(tmp_path: Path) -> None:
    other = program(tmp_path, "other", "#!/bin/sh\nexit 0\n")
    found = list(servers.servers(servers.read_installed(Place(tmp_path, server=str(other)))))
    assert found[0].outcome is Outcome.FAIL and "no redis-server" in found[0].found
    missing = servers.read_installed(Place(tmp_path, server="no-such-server"))
    assert next(iter(servers.servers(missing))).found == "there is no program no-such-server"


def test_the_server_of_the_cluster_in_the_folder_is_the_one_that_is_looked_at(
    tmp_path: Path, server_kind: str
) -> None:
    path = shutil.which(KINDS[server_kind])
    (tmp_path / "cluster.json").write_text(json.dumps({"server": path}))
    used = servers.read_installed(Place(tmp_path)).used
    assert used is not None and used.path == path and used.is_new_enough


def test_a_module_that_is_no_library_is_told_with_the_server_s_reason(
    tmp_path: Path, server_kind: str
) -> None:
    broken = program(tmp_path, "keymiss.so", "this is no library")
    trial = try_module(KINDS[server_kind], broken)
    assert "keymiss.so" in trial.error
    installed = replace(INSTALLED, module=broken, trial=trial)
    finding = only(servers.module(installed))
    assert finding.outcome is Outcome.FAIL and "was not loaded" in finding.found


def test_a_module_whose_workers_cannot_start_is_told(
    tmp_path: Path, server_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(program(tmp_path, "python", "#!/bin/sh\nexit 1\n")))
    trial = try_module(KINDS[server_kind], module_path())
    assert trial.error == "" and trial.module_version > 0
    finding = only(servers.functions_worker(replace(INSTALLED, trial=trial)))
    assert finding.outcome is Outcome.FAIL and "no function runs" in finding.found


INSTALLED = servers.Installed(None, (), None, module_path(), None)


def test_a_module_of_another_version_or_that_may_not_be_executed_is_told(tmp_path: Path) -> None:
    other = replace(INSTALLED, trial=servers.Trial(module_version=servers.number_of("9.8.7")))
    assert "is of version 90807" in only(servers.module(other)).found
    plain = tmp_path / "keymiss.so"
    plain.touch(0o644)
    assert "may not be executed" in only(servers.module(replace(INSTALLED, module=plain))).found
    assert "without keymiss.so" in only(servers.module(replace(INSTALLED, module=None))).found


# Packages and the machine


def test_packages_that_are_missing_or_of_another_version_are_named_with_the_command() -> None:
    here = installations.read_installation(Place(Path()))
    assert [one.outcome for one in installations.packages(here)] == [Outcome.OK]
    wanted = (Requirement("no-such-package>=2"), Requirement("redis>=99"))
    missing, old = installations.packages(replace(here, requirements=wanted))
    assert missing.found == "no-such-package is not installed"
    assert "pip install 'no-such-package>=2'" in missing.mend
    assert "needed is >=99" in old.found
    extra = {"onnx": (Requirement("numpy>=99"),), "tf": (Requirement("no-such-package"),)}
    assert "numpy" in only(installations.ranges(replace(here, extras=extra))).found
    assert only(installations.backends(replace(here, extras={}))).outcome is Outcome.WARN
    assert only(installations.python(replace(here, python=SpecifierSet(">=9")))).outcome is Outcome.FAIL


Change = dict[str, Any]
LOOKS: list[tuple[Callable[[machines.Machine], Iterable[Finding]], Change, str]] = [
    (machines.processor, {"quota": 0.5, "cores": 8}, "may use 0.5 of them"),
    (machines.processor, {"quota": None, "features": frozenset()}, "no instructions for matrices"),
    (machines.memory, {"memory_limit": 512 << 20}, "at most 512 MB in this container"),
    (machines.overcommit, {"overcommit": 0}, "vm.overcommit_memory 0"),
    (machines.huge_pages, {"huge_pages": "always"}, "transparent huge pages are always used"),
    (machines.backlog, {"backlog": 128}, "net.core.somaxconn 128"),
    (machines.open_files, {"open_files": 1024}, "servers take 992 clients"),
    (machines.address_space, {"address_space": 4 << 30}, "4.0 GB (ulimit -v)"),
    (machines.shared_memory, {"shm": machines.Disk(Path("/dev/shm"), 1 << 20, 64 << 20)}, "1 MB left"),
    (machines.shared_memory, {"shm": None}, "there is no /dev/shm"),
    (machines.disk, {"disks": (machines.Disk(Path("/data"), 1 << 20, 1 << 30),)}, "refuse writes when"),
    (machines.jemalloc, {"jemalloc": None}, "no jemalloc"),
]


def test_what_is_wrong_with_a_machine_is_told_with_the_command_that_mends_it(tmp_path: Path) -> None:
    here = machines.read_machine(Place(tmp_path))
    assert here.cores >= 1 and here.memory > 0 and here.disks
    for look, change, said in LOOKS:
        finding = only(look(replace(here, **change)))
        assert finding.outcome is not Outcome.OK
        assert said in finding.found
        assert finding.mend
