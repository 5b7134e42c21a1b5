"""The image's parts fit together: what is copied, run, asked for and set. `run-with-podman`, beside this
file, builds and runs it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from containers.compose_file import CONTAINERFILE, IMAGE, own_services, services, shard_settings, shards
from support.paths import REPOSITORY
from support.server import Server

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRIPTS = sorted([*(IMAGE / "bin").iterdir(), IMAGE / "install-torch"])
INSTRUCTIONS = CONTAINERFILE.read_text().replace("\\\n", " ").splitlines()


def instructions(name: str) -> list[str]:
    """What follows the name in each of the Containerfile's instructions of that name."""
    return [line.partition(" ")[2].strip() for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def arguments(name: str) -> set[str]:
    """The defaults of a build argument, of which each stage has its own."""
    return {
        value.strip('"')
        for told, _, value in (line.partition("=") for line in instructions("ARG"))
        if told == name
    }


def copied() -> list[str]:
    """What is copied from the repository."""
    lines = [line.split() for line in instructions("COPY") if not line.startswith("--from")]
    return [source for line in lines for source in line[:-1]]


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    kept = [
        line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    assert [path for path in copied() if not (REPOSITORY / path).exists()] == []
    assert {Path(path).parts[0] for path in copied()} == set(kept)


def test_every_package_of_the_wheel_is_copied() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = project["tool"]["scikit-build"]["wheel"]["packages"].values()
    assert set(packages) <= set(copied())


def test_it_runs_as_the_user_that_the_compose_file_names_and_who_owns_its_folders() -> None:
    (user,) = instructions("USER")
    assert {services()[name]["user"] for name in own_services()} == {user}
    uid, _, gid = user.partition(":")
    assert f"--uid {uid}" in CONTAINERFILE.read_text() and f"--gid {gid}" in CONTAINERFILE.read_text()


def test_arguments_default_to_what_the_compose_file_gives() -> None:
    for name in own_services():
        for argument, default in services()[name]["build"]["args"].items():
            assert arguments(argument) <= {default, ""}, argument  # without a default it is the stage's own


def test_every_base_is_pinned_or_another_stage() -> None:
    (base,) = arguments("BASE")
    assert re.fullmatch(r"debian:\d+\.\d+-slim", base)
    stages = {"${BASE}"}
    for line in instructions("FROM"):
        parent, _, name = line.partition(" AS ")
        assert parent in stages
        stages.add(name)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_may_be_executed_and_are_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", script], check=True, timeout=10)


def test_containers_run_scripts_of_the_image() -> None:
    names = {script.name for script in SCRIPTS}
    for name in own_services():
        service = services()[name]
        kind, program, *_ = service["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "keymiss-healthy")
        assert service["command"][0] in names
    assert set(re.findall(r'CMD \["([a-z-]+)"\]', CONTAINERFILE.read_text())) <= names


def test_the_init_script_s_commands_exist() -> None:
    asked = re.findall(r"^keymiss ([a-z]+)", (IMAGE / "bin" / "keymiss-init").read_text(), re.MULTILINE)
    assert asked == ["form", "model", "load", "deploy"]
    assert set(asked) <= {entry.name for entry in entry_points(group="keymiss.commands")}


OF_A_CONTAINER = {
    "dir",
    "bind",
    "loadmodule",
    "keymiss.models",
    "keymiss.models-dir",
}  # its paths and addresses


def test_a_server_takes_every_setting_of_a_shard(make_server: Callable[..., Server]) -> None:
    shard, described = next(iter(shards().items()))
    words = described["command"][1:]
    settings: dict[str, object] = {**shard_settings()}
    settings |= {
        option.removeprefix("--"): value for option, value in zip(words[::2], words[1::2], strict=True)
    }
    script = (IMAGE / "bin" / "keymiss-shard").read_text()
    environment = described["environment"]
    for option, variable in re.findall(r'--([a-z.-]+) "\$\{?([A-Z_]+)', script):
        settings[option] = environment[variable]
    taken = {
        name: value for name, value in settings.items() if name not in OF_A_CONTAINER and "port" not in name
    }
    server = make_server(settings=taken)
    with closing(server.client()) as client:
        known = client.config_get("*")
    assert settings.keys() - {"loadmodule"} <= known.keys()
    assert known["keymiss.shard-name"] == known["cluster-announce-hostname"] == shard
    assert known["cluster-preferred-endpoint-type"] == "ip"
    assert int(known["maxmemory"]) == 512 << 20


def healthy(folder: Path, *arguments: str, **environment: object) -> int:
    """The exit status of keymiss-healthy, whose socket is in `folder`."""
    script = folder / "healthy"
    script.write_text((IMAGE / "bin" / "keymiss-healthy").read_text().replace("/run/keymiss", str(folder)))
    told = {name: str(value) for name, value in environment.items()}
    return subprocess.run(["sh", script, *arguments], env=os.environ | told, timeout=30).returncode


def test_a_shard_is_healthy_while_it_answers(
    make_server: Callable[..., Server], server_kind: str, tmp_path: Path
) -> None:
    server = make_server(module=None)
    cli = shutil.which(f"{server_kind}-cli")
    assert cli is not None
    told = {"KEYMISS_CLI": cli, "KEYMISS_PORT": server.port}
    assert healthy(tmp_path, "shard", **told) == 0
    assert healthy(tmp_path, "init", f"127.0.0.1:{server.port}", **told) == 0
    server.stop()
    assert healthy(tmp_path, "shard", **told) != 0
    assert healthy(tmp_path, "init", f"127.0.0.1:{server.port}", **told) != 0


def test_the_models_worker_is_healthy_while_it_listens(tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "models.sock"))
        assert healthy(tmp_path, "models") != 0
        listener.listen()
        assert healthy(tmp_path, "models") == 0
    assert (tmp_path / "models.sock").exists()
    assert healthy(tmp_path, "models") != 0
