"""The pool: a few threads for the plain functions of users.

1. `submit` is for every thread; the queue is bounded, BusyError when it is full.
2. A function that is to be stopped is interrupted: `Aborted` is raised in its thread at its next
   line of Python. A thread inside a call of C cannot be interrupted; `stuck` tells when there are
   no others left.
3. Threads are daemons: nothing waits for them when the process ends.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import traceback
from collections.abc import Callable
from contextvars import copy_context
from queue import Full, Queue
from time import monotonic

from keymiss.channel import NEVER
from keymiss.errors import BusyError
from keymiss.functions.context import Context, current
from keymiss.functions.errors import Aborted

MAX_WAITING = 10_000


class Ticket:
    """A function in the pool. `cancel` keeps it from starting, or interrupts it."""

    __slots__ = ("_done", "_function", "_lock", "_thread", "context")

    def __init__(self, function: Callable[[], object], context: Context) -> None:
        self.context = context
        self._function = function
        self._lock = threading.Lock()
        self._thread = 0  # the thread it runs in
        self._done = False

    def cancel(self) -> None:
        with self._lock:  # the thread cannot leave the function, and so start another, while it is held
            if self._done:
                return
            if not self._thread:
                self._done = True
            else:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(Aborted)
                )

    def run(self) -> None:
        with self._lock:
            if self._done:
                return
            self._thread = threading.get_ident()
        try:
            try:
                self._function()
            finally:
                self._finish()
        except Aborted:  # may arrive anywhere above, up to the end of _finish
            self._finish()
        except BaseException:
            traceback.print_exc()

    def _finish(self) -> None:
        with self._lock:
            self._done = True


class Pool:
    """Runs functions in threads that are started as they are needed, up to `size`."""

    def __init__(self, size: int) -> None:
        self.size = max(1, size)
        self._queue: Queue[Ticket] = Queue(MAX_WAITING)
        self._running: dict[int, Ticket] = {}
        self._idle = 0
        self._lock = threading.Lock()

    def submit(self, function: Callable[[], object], context: Context) -> Ticket:
        """Run `function` in a thread with `context` as the current one.

        It must report what it returns or raises itself.
        """

        def within() -> None:
            current.set(context)
            function()

        ticket = Ticket(lambda: copy_context().run(within), context)
        try:
            self._queue.put_nowait(ticket)
        except Full:
            raise BusyError(f"{MAX_WAITING} functions wait for a thread already") from None
        with self._lock:
            if self._idle < self._queue.qsize() and len(self._running) + self._idle < self.size:
                self._idle += 1
                threading.Thread(target=self._serve, name="functions", daemon=True).start()
        return ticket

    def stuck(self, grace_s: float) -> bool:
        """Every thread is busy with a job whose deadline passed more than `grace_s` ago, and others wait."""
        latest = monotonic() - grace_s
        running = list(self._running.values())
        return (
            len(running) >= self.size
            and not self._queue.empty()
            and all((NEVER if t.context.job is None else t.context.job.deadline) < latest for t in running)
        )

    def _serve(self) -> None:
        me = threading.get_ident()
        while True:
            try:
                ticket = self._queue.get()
                with self._lock:
                    self._idle -= 1
                    self._running[me] = ticket
                try:
                    ticket.run()
                finally:
                    with self._lock:
                        self._idle += 1
                        del self._running[me]
            except Aborted:  # of a function that ended in the same moment
                print("a late interruption was ignored", file=sys.stderr)
