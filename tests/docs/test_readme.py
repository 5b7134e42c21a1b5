"""The sessions of the README and of docs/asking.md do what they say, line by line, and so do the last words
of bootstrap.sh."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.examples import check_examples
from docs.sessions import steps
from support.command_line import CommandLine, command_line
from support.paths import REPOSITORY

README = REPOSITORY / "README.md"
ASKING = REPOSITORY / "docs" / "asking.md"
BOOTSTRAP = REPOSITORY / "bootstrap.sh"
TIMEOUT_S = 120.0
DONE_BY_BOOTSTRAP = ["source .venv/bin/activate"]


@pytest.fixture(scope="module")
def deployed(server_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """What bootstrap.sh leaves behind: shards, model, sample corpus, functions."""
    with command_line(server_kind, tmp_path_factory.mktemp("deployed")) as keymiss:
        keymiss.up()
        keymiss("model", "store", "--backend", "torch", "--precision", "fp32")
        keymiss("load", str(REPOSITORY / "corpus"))
        keymiss("deploy")
        yield keymiss


@pytest.mark.slow
def test_the_first_answer_it_shows_is_given(deployed: CommandLine) -> None:
    """The key at its top is the sample key of a cluster of three shards."""
    top = README.read_text().partition("## ")[0].splitlines()
    command = next(line for line in top if line.startswith("    $ ")).removeprefix("    $ ")
    shown = top[top.index(f"    $ {command}") + 1].strip().strip('"')
    assert _run(command, deployed).strip().strip('"') == shown


@pytest.mark.slow
def test_what_bootstrap_says_to_try_next_measures_the_model(deployed: CommandLine) -> None:
    """Each GET of its benchmark is a run: those of several clients for one key would share one."""
    (deployed.folder / ".venv").symlink_to(sys.prefix)
    script = BOOTSTRAP.read_text().partition("what_next() {")[2].partition("\n}")[0]
    commands = re.findall("^  (.+)", _run(script, deployed), re.MULTILINE)
    (benchmark,) = (command for command in commands if "-benchmark " in command)
    for command in commands[: commands.index(benchmark)]:
        _run(command, deployed)
    before = _calls(deployed)
    _run(benchmark, deployed)
    assert _calls(deployed) - before == 100


@pytest.mark.slow
def test_a_program_asks_many_paragraphs_as_shown(deployed: CommandLine) -> None:
    check_examples(ASKING, {30001: deployed.port}, least=6)


@pytest.mark.slow
# "A session" is the last, since it ends the cluster.
@pytest.mark.parametrize(
    ("page", "heading", "commands"),
    [(README, "Tensors, models, scripts", 2), (ASKING, "Many paragraphs", 1), (README, "A session", 11)],
    ids=["tensors", "asking", "session"],
)
def test_the_session_goes_as_shown(deployed: CommandLine, page: Path, heading: str, commands: int) -> None:
    session = steps(page, heading)
    assert len(session) >= commands
    for step in session:
        if step.command in DONE_BY_BOOTSTRAP:
            continue
        printed = _run(step.command, deployed)
        assert step.agrees(printed), f"{step.command}\nshown: {step.shown}\nprinted: {printed}"


def _calls(deployed: CommandLine) -> int:
    """Runs of the model, on all shards."""
    return sum(int(model["calls"]) for model in deployed.status()["models"])


def _run(command: str, deployed: CommandLine) -> str:
    """What the command prints, on this deployment's ports, in its folder."""
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", command.replace("-p 30001", f"-p {deployed.port}")],
        cwd=deployed.folder,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout
