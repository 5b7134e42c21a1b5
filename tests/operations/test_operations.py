"""docs/operations.md, tried by doing: each fault is made on a real cluster, the page's commands show it, and
the page's commands mend it.

One cluster serves all sections, in the page's order: what one of them breaks, its own commands have mended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from operations.faults import FAULTS, Subject
from operations.sections import Block, Section, sections
from support.command_line import CommandLine, command_line
from support.paths import REPOSITORY
from support.ports import ports
from support.server import available_kinds
from support.waiting import wait_until

COMMANDS_DEADLINE_S = 120.0
SHOWN_DEADLINE_S = 30.0
PORTS_OF_MONITOR = 9  # Prometheus, the exporter, the models worker and six functions workers
STORE = ("model", "store", "--backend", "openvino", "--precision", "bf16")


@pytest.fixture(scope="module", params=available_kinds()[:1])
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """The cluster that the page is about, on one kind of server: what differs between them is tested
    elsewhere. Its replicas take over when they are told to, so that each fault stays as it was made."""
    monitor = ports.take_run(PORTS_OF_MONITOR)
    with command_line(request.param, tmp_path_factory.mktemp("operated")) as keymiss:
        keymiss.up(
            *("--replicas", "1", "--monitor", "--monitor-port", str(monitor), "--monitor-interval", "1"),
            *("--set", "cluster-node-timeout=2000", "--set", "cluster-replica-no-failover=yes"),
        )
        keymiss(*STORE)
        keymiss("load", REPOSITORY / "corpus" / "hiv.txt")
        keymiss("deploy")
        yield Subject(keymiss)
        keymiss("down", "--dir", "moved", "--delete")
    for port in range(monitor, monitor + PORTS_OF_MONITOR):
        ports.release(port)


@pytest.mark.slow
def test_the_commands_to_begin_with_show_a_cluster_that_is_well(subject: Subject) -> None:
    look = sections()[0].block("well")
    assert look is not None
    wait_until_prints(look, subject.keymiss, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "section", [one for one in sections() if one.title in FAULTS], ids=lambda one: one.anchor
)
def test_the_page_s_commands_show_the_fault_and_mend_it(section: Section, subject: Subject) -> None:
    shows, mends = section.block("shows"), section.block("mends")
    assert shows is not None and mends is not None
    if before := section.block("before"):
        done = run(before, subject.keymiss)
        assert done.returncode == 0, done.stdout
    FAULTS[section.title](subject)
    wait_until_prints(shows, subject.keymiss, True)
    done = run(mends, subject.keymiss)
    assert done.returncode == 0, f"{mends.commands}\n{done.stdout}"
    well, gone = section.block("well"), section.block("gone")
    if well is not None:
        wait_until_prints(well, subject.keymiss, True)
    else:
        wait_until_prints(gone or shows, subject.keymiss, False)


def wait_until_prints(block: Block, keymiss: CommandLine, wanted: bool) -> None:
    """Run the commands until they print what they are to, or no longer print it."""
    printed: list[str] = []

    pattern = _of_this_cluster(block.pattern, keymiss)

    def agrees() -> bool:
        printed.append(run(block, keymiss).stdout)
        return (re.search(pattern, printed[-1], re.MULTILINE) is not None) is wanted

    what = f"{'prints' if wanted else 'no longer prints'} {pattern!r}:\n{block.commands}"
    try:
        wait_until(agrees, SHOWN_DEADLINE_S, what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{printed[-1]}") from error


def run(block: Block, keymiss: CommandLine) -> subprocess.CompletedProcess[str]:
    """As a person would, beside this cluster instead of the page's."""
    programs = Path(sys.executable).parent
    strict = ["-e"] if block.mark in ("mends", "before") else []
    return subprocess.run(
        ["bash", *strict, "-c", _of_this_cluster(block.commands, keymiss)],
        cwd=keymiss.folder,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMANDS_DEADLINE_S,
        check=False,
    )


def _of_this_cluster(commands: str, keymiss: CommandLine) -> str:
    monitor = keymiss.status()["monitor"][0]["url"].rpartition(":")[2] if ":9090" in commands else ""
    commands = re.sub(r"\b3000(\d)\b", lambda port: str(keymiss.port + int(port[1]) - 1), commands)
    commands = commands.replace(":9090", f":{monitor}")
    if "valkey" in keymiss.server:
        commands = commands.replace("redis-check-aof", "valkey-check-aof")
    return commands
