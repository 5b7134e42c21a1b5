"""Threads of a forward pass on cores of their own, in a virtual machine that was idle.

Linux wakes a thread on a core that idles. KVM tells its guests which cores the host has put to other use, and
one that has idled for some milliseconds counts as such: then the guest leaves the thread where its waker is.
After a pause all threads of a pass shared one core. Where they sleep when they wait for each other, each
wakes the next one on that core again, and nothing moves them, since never two want it at once: MiniLM at 64
tokens took 32 ms by PyTorch instead of 15.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


@cache
def is_guest() -> bool:
    """Whether this is a virtual machine, by what its processor says."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        flags = (line for line in _CPU_INFO.read_text().splitlines() if line.startswith("flags"))
        return "hypervisor" in next(flags, "").split()
    except OSError:
        return False


@contextmanager
def apart() -> Iterator[None]:
    """Inside, the calling thread stays on its core, and the threads of libraries, which Python does not know,
    are on others. Threads that are bound to cores already are left alone."""
    everywhere = os.sched_getaffinity(0)
    here = ctypes.CDLL(None).sched_getcpu()
    elsewhere = everywhere - {here}
    if here not in everywhere or not elsewhere:
        yield
        return
    pythons = {thread.native_id for thread in threading.enumerate()}
    before = _threads()
    moved = [tid for tid in before - pythons if _move(tid, everywhere, elsewhere)]
    stays = _move(0, everywhere, {here})
    try:
        yield
    finally:
        for tid in moved:
            _move(tid, elsewhere, everywhere)
        if stays:
            _move(0, {here}, everywhere)
            for tid in _threads() - before:  # begun meanwhile, where this one was
                _move(tid, {here}, everywhere)


def _threads() -> set[int]:
    """The ids of all threads of this process."""
    return set(map(int, os.listdir("/proc/self/task")))  # noqa: PTH208  # half the time of a Path's


def _move(tid: int, from_: Collection[int], to: Collection[int]) -> bool:
    """Bind a thread of this process (0: this one) to the cores `to`, if it was to `from_`. Whether it was."""
    try:
        if os.sched_getaffinity(tid) != from_:
            return False
        os.sched_setaffinity(tid, to)
    except OSError:  # it has ended, or those cores were taken from this process
        return False
    return True
