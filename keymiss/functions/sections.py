"""Atomic sections: from BEGIN to END the server serves one context of this worker, and nobody else.

1. One section is open at a time in a worker; others wait for it, each until its deadline.
2. The context that holds it is the one whose commands the server takes meanwhile; it is set last when a
   section is opened, so that whoever sees it does not take what the last one left for its own.
3. A section that a coroutine opened, on the loop's thread, is closed for it as soon as anything else on that
   thread needs the server: a coroutine must not await inside one, and nothing can lock up.
4. The server ends one by itself after keymiss.sync-timeout-ms, and does not tell: `is_over` goes by this
   worker's clock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from keymiss.channel import NEVER, Channel, deadline_after_ms, remaining_s
from keymiss.errors import DeadlineError, GearsError
from keymiss.functions.context import Context, current
from keymiss.functions.pool import shielded

POLL_S = 0.005


class Sections:
    """Those of one worker. `deadline` is when whoever waits for one gives up, by GearsError."""

    def __init__(self, channel: Channel, warn: Callable[[str], object]) -> None:
        self.holder: Context | None = None
        self.job = 0  # that the open one is of
        self._channel = channel
        self._warn = warn
        self._lock = threading.Lock()
        self._on_loop = False
        self._until = NEVER

    def open(self, context: Context, deadline: float) -> int:
        """Wait until no section is open; the number of the job that the one of this context is of."""
        self._enter(deadline)
        job = context.job
        self._on_loop = self._channel.on_loop_thread
        self.job = number = 0 if job is None or job.finished else job.id
        self._until = NEVER
        self.holder = context
        return number

    def begun(self, timeout_ms: int) -> None:
        """The server serves the holder of the open one alone, for so long."""
        self._until = deadline_after_ms(timeout_ms)

    @property
    def is_over(self) -> bool:
        """The server has ended the open one."""
        return monotonic() > self._until

    def close(self) -> None:
        """The open one ends here."""
        with shielded():
            holder, job = self.holder, self.job
            if holder is not None:
                holder.atomic = False
            self.holder = None
            self._lock.release()
            self._channel.send(b"END", job)

    def abandon(self, context: Context) -> None:
        """A function was interrupted before it could leave its atomic block."""
        # One that was opened on the loop is that of a coroutine, which the same execution has gone on to.
        if self.holder is context and not self._on_loop:
            self.close()

    def close_suspended(self) -> None:
        """The loop's thread needs the server: it may be held by a coroutine that awaits."""
        holder = self.holder
        if holder is not None and holder is not current.get().holder and self._on_loop:
            self._warn("an atomic block was ended early: its coroutine awaited inside it")
            self.close()

    @contextmanager
    def none_open(self, deadline: float) -> Iterator[None]:
        """What is sent inside of this is sent while no section is open."""
        self._enter(deadline)
        try:
            yield
        finally:
            self._lock.release()

    def _enter(self, deadline: float) -> None:
        """Wait for the lock: on the loop's thread while answers to its holder are still handled."""
        if not self._channel.on_loop_thread:
            timeout_s = remaining_s(deadline)
            if not self._lock.acquire(timeout=-1 if timeout_s is None else timeout_s):
                raise GearsError("the deadline passed before the atomic block could begin")
            return
        self.close_suspended()
        while not self._lock.acquire(blocking=False):
            with suppress(DeadlineError):
                self._channel.read_until(lambda: not self._lock.locked(), min(deadline, monotonic() + POLL_S))
            if monotonic() > deadline:
                raise GearsError("the deadline passed before the atomic block could begin")
