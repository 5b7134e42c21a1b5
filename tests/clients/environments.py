"""Virtual environments of their own for clients that this one cannot hold, made once and kept in build/."""

from __future__ import annotations

import fcntl
import os
import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from support.paths import REPOSITORY

KEPT = REPOSITORY / "build" / "test-environments"
# redisai 1.3.0 imports pkg_resources, and copies arrays by a call that numpy 2.3 no longer has.
CLIENTS_OF_REDISAI = [
    "redisai==1.3.0",
    "smartredis==0.6.1; python_version < '3.12'",
    "numpy<2.3",
    "setuptools<81",
]
# gearsclient 1.0.2 wants cloudpickle<2, which cannot pickle functions of Python 3.11 and later.
GEARSCLIENT = ["gearsclient==1.0.2", "redis==3.5.3", "six>=1.16,<2", "cloudpickle>=3,<4"]
REDGREASE = ["redgrease[client]==0.3.30", "redis==3.5.3"]
GEARS_CLI = ["gears-cli==1.2.0"]

INSTALL_TIMEOUT_S = 300.0
RUN_TIMEOUT_S = 120.0


def environment(name: str, requirements: Sequence[str], over_ours: bool = False, whole: bool = False) -> Path:
    """The Python of a virtual environment that has `requirements`, made if there is none.

    Where `over_ours`, what they lack is taken from the environment that runs the tests: numpy and Keymiss.
    Where `whole`, they are all: what they say themselves that they need is not looked at.
    """
    folder = KEPT / name
    python = folder / "bin" / "python"
    complete = folder / "complete"
    ours = site.getsitepackages() if over_ours else []
    wanted = "\n".join([sys.version, *requirements, *ours])
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test processes, one makes it
        if not complete.exists() or complete.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=False, symlinks=True)
            _install(python, [*requirements, *(["--no-deps"] if whole else [])])
            if ours:
                (packages,) = folder.glob("lib/python*/site-packages")
                lines = "".join(f"import site; site.addsitedir({path!r})\n" for path in ours)
                (packages / "zz_ours.pth").write_text(lines)  # behind its own
            complete.write_text(wanted)
    return python


def of_redisai() -> Path:
    """The Python of the environment for published clients of RedisAI."""
    return environment("redisai", CLIENTS_OF_REDISAI)


def of_gearsclient() -> Path:
    """The Python of the environment for gearsclient."""
    return environment("gearsclient", GEARSCLIENT, whole=True)


def of_redgrease() -> Path:
    """The Python of the environment for redgrease."""
    return environment("redgrease", REDGREASE)


def of_gears_cli() -> Path:
    """The Python of the environment for gears-cli."""
    return environment("gears-cli", GEARS_CLI)


def run(python: Path, script: Path, *arguments: object) -> str:
    """What the script prints. Fails with all it said where it fails."""
    done = ask(python, script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What that Python says, and its exit code."""
    return subprocess.run(
        [python, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=False,
    )


def _install(python: Path, requirements: Sequence[str]) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    done = subprocess.run(
        [*pip, "install", "--quiet", *requirements], capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
