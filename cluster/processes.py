"""Processes that outlive the command that started them, each known by a pid file.

A pid file holds the pid and the start time that the kernel gave the process, so that a number used again by
another program is never mistaken for ours.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

POLL_S = 0.02


def start_detached(
    argv: Sequence[str | Path], log: Path, pid_file: Path, env: Mapping[str, str] | None = None
) -> None:
    """Start `argv` in a session of its own, its output appended to `log`. OSError where it cannot be
    started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=env,
        )
    write_pid_file(pid_file, process.pid)
    process.returncode = (
        0  # nobody here waits for it: without this, its end would be missed with a ResourceWarning
    )


def write_pid_file(pid_file: Path, pid: int) -> None:
    """Note that `pid`, which runs now, is the process of `pid_file`."""
    pid_file.write_text(f"{pid} {_start_time(pid)}\n")


def running_pid(pid_file: Path) -> int | None:
    """The pid of the process that `pid_file` names, while it runs; else None."""
    try:
        pid, started = pid_file.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    if not pid.isdecimal() or _start_time(int(pid)) != started:
        return None
    return int(pid)


def stop(pid_files: Sequence[Path], deadline_s: float) -> list[Path]:
    """End these processes together: politely, and those still there after `deadline_s` seconds by force.

    Returns the pid files of those that were running."""
    running = [pid_file for pid_file in pid_files if running_pid(pid_file) is not None]
    left = running
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid_file in left:
            _send(pid_file, number)
        left = _left_after(left, deadline_s)
    for pid_file in set(pid_files) - set(left):
        pid_file.unlink(missing_ok=True)
    return running


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log, to show why something did not start."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return "(no log was written)"


def _left_after(pid_files: Sequence[Path], deadline_s: float) -> list[Path]:
    deadline = time.monotonic() + deadline_s
    while True:
        left = [pid_file for pid_file in pid_files if running_pid(pid_file) is not None]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(POLL_S)


def _send(pid_file: Path, number: signal.Signals) -> None:
    pid = running_pid(pid_file)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):  # it ended in between
            os.kill(pid, number)


def parent_of(pid: int) -> int | None:
    """The process that has started it, while both run."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _start_time(pid: int) -> str | None:
    """The kernel's start time of a process, in clock ticks since boot; None where there is none, or only
    its corpse."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on; empty where there is none, or only its corpse."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    fields = stat[stat.rindex(")") + 2 :].split()  # the name before it may hold spaces
    return [] if fields[0] == "Z" else fields
