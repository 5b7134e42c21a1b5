"""Keeps one program running: `python -m keymiss_deploy.cluster.keeper PID_FILE PROGRAM ARGUMENT...`.

The models worker that a host's shards share is nobody's child but this one's, so it is this one that starts
it again when it dies: at once the first time, then after a pause that doubles while it keeps dying young.
SIGTERM ends both. The program's pid stands in PID_FILE, so that it can be ended even where its keeper was
killed.

Signals are blocked and taken by sigtimedwait, never by handlers: nothing can happen between starting the
program and knowing its pid.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from keymiss.children import end

from .processes import write_pid_file

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
GROWN_UP_S = 30.0  # a program that ran this long is started again without a pause
STOP_DEADLINE_S = 5.0
END = {signal.SIGTERM, signal.SIGINT}


def keep(pid_file: Path, argv: list[str]) -> None:
    """Run `argv` again and again until SIGTERM or SIGINT, which it is given too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, END | {signal.SIGCHLD})
    pause_s = 0.0
    while True:
        started = time.monotonic()
        program = subprocess.Popen(argv, preexec_fn=_take_signals)
        write_pid_file(pid_file, program.pid)
        while program.poll() is None:
            if signal.sigwait(END | {signal.SIGCHLD}) in END:
                end(program, STOP_DEADLINE_S)
                return
        young = time.monotonic() - started < GROWN_UP_S
        pause_s = min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S) if young else 0.0
        print(
            f"{argv[0]} ended with status {program.returncode}; starting it again in {pause_s:.1f} s",
            flush=True,
        )
        if signal.sigtimedwait(END, pause_s):
            return


def _take_signals() -> None:
    """In the program, before it starts: signals reach it as usual."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END | {signal.SIGCHLD})


if __name__ == "__main__":
    keep(Path(sys.argv[1]), sys.argv[2:])
