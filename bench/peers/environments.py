"""Virtual environments of the peers: made once, kept in the user's cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from keymiss_deploy.models.source import cache_folder

INSTALL_DEADLINE_S = 900.0  # PyTorch is some hundred megabytes
_LAST_LINES = 3


class PeerUnavailable(Exception):
    """A peer cannot be run here; the text says why."""


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The Python of the environment `name` with these requirements; made, which takes minutes, where it is
    not there yet. Of several processes that want it, one makes it. PeerUnavailable where pip fails."""
    wanted = "\n".join([sys.version, *requirements])
    folder: Path = cache_folder() / "peers" / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    complete = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what an earlier, broken attempt left
            venv.create(folder, with_pip=False, symlinks=True)
            if requirements:
                _install(folder / "bin" / "python", requirements)
            complete.write_text(wanted)
    return folder / "bin" / "python"


def own_environment() -> dict[str, str]:
    """This process's environment variables without those that would lead another Python to our packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def _install(python: Path, requirements: Sequence[str]) -> None:
    """PyTorch first and alone, from an index of its own where TORCH_INDEX names one, as bootstrap.sh does."""
    index = os.environ.get("TORCH_INDEX")
    torch = [one for one in requirements if one.partition("=")[0] == "torch"]
    if index and torch:
        _pip(python, "--index-url", index, *torch)
    _pip(python, *requirements)


def _pip(python: Path, *wanted: str) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install"]
    try:
        done = subprocess.run(
            [*pip, "--quiet", *wanted],
            capture_output=True,
            text=True,
            timeout=INSTALL_DEADLINE_S,
            env=own_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PeerUnavailable(f"pip did not end within {INSTALL_DEADLINE_S:g} s") from None
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise PeerUnavailable("; ".join(lines[-_LAST_LINES:]) or f"pip ended with {done.returncode}")
