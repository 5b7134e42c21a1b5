"""What functions may take of the host: memory and processes. Linux; elsewhere what Python itself refuses.

1. Memory is limited by the kernel: an allocation beyond `keymiss.functions-memory` raises MemoryError in the
   function that asks for it. Where nearly all stays in use nothing is left for others: `memory_full` tells.
2. Processes that functions start are in the worker's process group. Python code that would start one too many
   gets an error; where a program (a shell) starts others, the worker finds out, and ends the whole group.
3. Where memory is short all the same, the kernel's OOM killer meets functions before the server.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from keymiss.channel import Hello
from keymiss.errors import GearsError

DEFAULT_MEMORY = 4 << 30
DEFAULT_CHILDREN = 64

_FULL = 0.95  # of the memory limit
_FULL_FOR_S = 2.0
_OOM_SCORE = "900"  # of 1000: nearly the first to be killed
_STARTS = frozenset(("os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"))
_PAGE = resource.getpagesize()


class Limits:
    """The limits of this process and of those that its functions start. Every thread."""

    def __init__(self, leader: int, on_start: Callable[[], object]) -> None:
        """`leader` is the worker, `on_start` is called when a function is about to start a process."""
        self.memory = DEFAULT_MEMORY
        self.children = DEFAULT_CHILDREN
        self._ours = 1  # processes of the group that are no children
        self._group = leader
        self._led = os.getpgrp() == leader  # one that was started by hand shares its shell's group
        self.on_start = on_start
        self._own_thread = 0  # it starts a process of ours
        self._full_since: float | None = None

    def install(self) -> None:
        """Refuse processes beyond the limit from now on. Once: an audit hook cannot be removed."""
        sys.addaudithook(self._on_event)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)

    def follow(self, hello: Hello) -> None:
        """Obey the settings as they are now."""
        self.children = hello.setting("functions-children", DEFAULT_CHILDREN)
        ours = hello.setting("functions-processes", 1)
        self._ours = 1 if ours == 1 else 1 + ours
        memory = hello.setting("functions-memory", DEFAULT_MEMORY)
        if memory != self.memory or self._soft_limit() != memory:
            self.memory = memory
            self._limit_memory()

    @staticmethod
    def _soft_limit() -> int:
        soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
        return 0 if soft == resource.RLIM_INFINITY else soft

    def _limit_memory(self) -> None:
        """The soft limit only, so that it can be raised again."""
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = self.memory or resource.RLIM_INFINITY
        if hard != resource.RLIM_INFINITY and (wanted == resource.RLIM_INFINITY or wanted > hard):
            wanted = hard
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))

    # Processes

    @contextmanager
    def starting_own(self) -> Iterator[None]:
        """Inside, this thread starts a process of ours."""
        self._own_thread = threading.get_ident()
        try:
            yield
        finally:
            self._own_thread = 0

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _STARTS:
            return
        if threading.get_ident() == self._own_thread:
            return
        self.on_start()
        allowed, there = self.children, self.count_children()
        if there >= allowed:
            raise GearsError(
                f"functions have started {there} processes that still run: "
                f"no more than {allowed} are allowed (keymiss.functions-children)"
            )

    def count_children(self) -> int:
        """Processes that functions have started and that still run."""
        if not self._led:
            return 0
        count = 0
        with suppress(OSError), os.scandir("/proc") as entries:
            count = sum(_group_of(entry.name) == self._group for entry in entries if entry.name.isdigit())
        return max(0, count - self._ours)

    # Memory

    def memory_full(self) -> str | None:
        """What is wrong where functions have kept nearly all the memory for seconds."""
        if not self.memory or memory_in_use() < self.memory * _FULL:
            self._full_since = None
            return None
        if self._full_since is None:
            self._full_since = monotonic()
        if monotonic() - self._full_since < _FULL_FOR_S:
            return None
        return f"its functions hold the {self.memory >> 20} MiB that they may (keymiss.functions-memory)"


def memory_in_use() -> int:
    """Bytes that the kernel counts against the memory limit; 0 where that is not known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def resident_bytes(pid: int | str = "self") -> int:
    """Memory of a process that is in RAM, with what it shares with others; 0 where that is not known."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _group_of(pid: str) -> int:
    try:
        return int(Path("/proc", pid, "stat").read_bytes().rpartition(b")")[2].split()[2])
    except (OSError, IndexError, ValueError):
        return 0  # it has just ended


def end_group(status: int) -> None:
    """End this process and all that its functions have started. Does not return."""
    if os.getpgrp() == os.getpid():  # started by the module; one that is started by hand shares the shell's
        os.killpg(0, signal.SIGKILL)
    os._exit(status)
