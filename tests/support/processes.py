"""Processes that tests start: they end with them, and their end is seen at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import psutil

from support.waiting import wait_until

END_DEADLINE_S = 15.0

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """To be run in a child before exec: a test process that is killed leaves nothing behind."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def runs(pid: int) -> bool:
    """False for a process that has ended, also where nobody has collected it yet: the init of a container may
    take more than a second to."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def peak_bytes(pid: int) -> int:
    """The most memory that the process has had at once so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[Callable[[], None]]:
    """The process stands still until the block ends or what this gives is called. It may be killed there."""
    go_on = partial(os.kill, pid, signal.SIGCONT)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield go_on
    finally:
        with contextlib.suppress(ProcessLookupError):
            go_on()


def kill(processes: Sequence[psutil.Process]) -> None:
    """End them, and wait until they have ended. They may have ended before."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    wait_until(
        lambda: not any(process.is_running() and runs(process.pid) for process in processes),
        END_DEADLINE_S,
        "all processes have ended",
    )
