"""Workers that tests start: at the other end of a channel, or, of models, on a socket that servers share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from support.paths import worker_pythonpath
from support.processes import die_with_parent
from support.waiting import wait_until

LISTEN_DEADLINE_S = 60.0  # a busy machine takes its time

_MOVE = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


def start_worker(
    *arguments: str,
    fd: int | None = None,
    log: int | IO[bytes] = subprocess.PIPE,
    environment: Mapping[str, str] | None = None,
    package: str = "keymiss.inference",
) -> subprocess.Popen[str]:
    """A worker process of this package that logs to `log`; with `fd`, that descriptor is its descriptor 3."""
    start = ["-c", _MOVE, str(fd)] if fd is not None else []
    return subprocess.Popen(
        [sys.executable, *start, "-m", package, *arguments],
        pass_fds=() if fd is None else (fd,),
        env={**os.environ, "PYTHONPATH": worker_pythonpath(), **(environment or {})},
        stderr=log,
        text=True,
        preexec_fn=die_with_parent,
    )


def dial(path: Path) -> socket.socket:
    """A connection to the worker that listens there."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


class ModelsWorker:
    """A models worker that servers with `keymiss.models unix:<socket>` share."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "models.sock"
        self._log = folder / "models.log"
        self._process: subprocess.Popen[str] | None = None

    def ensure(self) -> None:
        """It listens: started now where it was not, or where it died."""
        if self._process is not None and self._process.poll() is None:
            return
        with self._log.open("ab") as log:
            self._process = start_worker("--listen", str(self.socket), log=log)
        wait_until(lambda: dial(self.socket), LISTEN_DEADLINE_S, "the models worker listens").close()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
