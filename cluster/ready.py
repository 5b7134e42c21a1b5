"""Before a process is started: its ports are free. After: it answers, or its log says why not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from . import processes
from .errors import UpError

ANSWER_DEADLINE_S = 60.0
POLL_S = 0.05


class StillLoading(Exception):
    """It loads its data, which may be any amount."""


def check_free(port: int, what: str, option: str) -> None:
    """UpError where another program listens on `port`: it names `what` is meant to, and the option that
    chooses others."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UpError(
                f"{what} is taken by another program ({error.strerror}); choose other ports with {option}"
            ) from error


def wait_for_answer(
    name: str,
    answers: Callable[[], bool],
    where: str,
    log: Path,
    pid_file: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Until `answers`, which gives False, or raises OSError or StillLoading, before.

    UpError after ANSWER_DEADLINE_S, which begin anew while it loads, and at once where the process of
    `pid_file` has ended; both with what its log says."""
    deadline = time.monotonic() + ANSWER_DEADLINE_S
    loads = False
    while True:
        try:
            if answers():
                return
        except StillLoading:
            if not loads:
                say(f"{name} is loading its data")
            loads, deadline = True, time.monotonic() + ANSWER_DEADLINE_S
        except OSError:
            pass
        if pid_file is not None and processes.running_pid(pid_file) is None:
            raise UpError(f"{name} ended at once. {log} ends with:\n{processes.last_lines(log)}")
        if time.monotonic() > deadline:
            raise UpError(f"{name} does not answer on {where}. {log} ends with:\n{processes.last_lines(log)}")
        time.sleep(POLL_S)
