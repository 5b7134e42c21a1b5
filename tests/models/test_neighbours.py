"""What others take of the processors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
from keymiss_deploy.models.neighbours import Neighbours
from support.waiting import wait_until

PROCESSORS = len(os.sched_getaffinity(0))
SPIN = [sys.executable, "-c", "while True: pass"]
LONG_ENOUGH_S = 0.5
ROUGHLY = 0.1  # it is counted in hundredths of a second


@contextmanager
def child() -> Iterator[psutil.Process]:
    with subprocess.Popen(SPIN) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


@contextmanager
def stranger() -> Iterator[psutil.Process]:
    """One whose parent has ended."""
    started = subprocess.run(
        ["sh", "-c", '"$@" >/dev/null & echo $!', "sh", *SPIN], stdout=subprocess.PIPE, text=True, check=True
    )
    process = psutil.Process(int(started.stdout))
    try:
        yield process
    finally:
        process.kill()


def used_s(processes: list[psutil.Process]) -> float:
    return sum(process.cpu_times().user + process.cpu_times().system for process in processes)


def watched(processes: list[psutil.Process]) -> tuple[float, float]:
    """The share of others while these run, and the share that these have."""
    neighbours = Neighbours()
    with neighbours.watching():
        before_s, began_s = used_s(processes), time.monotonic()
        wait_until(lambda: used_s(processes) > before_s + LONG_ENOUGH_S, 30, "they ran")
        used, there = used_s(processes) - before_s, PROCESSORS * (time.monotonic() - began_s)
    return neighbours.share, used / there


def test_what_a_stranger_takes_is_counted() -> None:
    with stranger() as process:
        others, its_own = watched([process])
    assert its_own - ROUGHLY <= others <= 1 + ROUGHLY


def test_children_are_no_others() -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(child()) for _ in range(PROCESSORS)]
        others, their_own = watched(children)
    assert 0 <= others <= 1 - their_own + ROUGHLY
