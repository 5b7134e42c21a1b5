"""The pool: a few threads for the plain functions of users.

1. `submit` is for every thread; the queue is bounded, BusyError when it is full.
2. A function that is to be stopped is interrupted: `Aborted` is raised in its thread at its next line
   of Python. A thread inside a call of C cannot be interrupted; `stuck` tells when there are no others.
3. Code that an interruption would leave half done (the channel's) runs inside `shielded`; the
   interruption then follows when it is left.
4. Threads are daemons: nothing waits for them when the process ends.
"""

from __future__ import annotations

import ctypes
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from queue import SimpleQueue
from time import monotonic

from keymiss.errors import BusyError
from keymiss.functions.context import Context, current
from keymiss.functions.errors import Aborted

MAX_WAITING = 10_000
_DELIVERY_TURNS = 100  # by then an interruption that was asked for has been raised; usually it takes one

_here = threading.local()  # .ticket: the one that this thread runs


class Ticket:
    """A function in the pool. `cancel` keeps it from starting, or interrupts it."""

    __slots__ = ("_cleanup", "_context", "_function", "_lock", "_shields", "_thread", "cancelled_at", "done")

    def __init__(
        self, function: Callable[[], object], context: Context, cleanup: Callable[[], object] = int
    ) -> None:
        """`function` is run with `context` as the current one, and must report its result itself.

        `cleanup` is called behind it, however it ended, where it cannot be interrupted any more.
        """
        self.cancelled_at: float | None = None
        self._function = function
        self._context = context
        self._cleanup = cleanup
        self._lock = threading.Lock()
        self._thread = 0  # the thread it runs in
        self._shields = 0
        self.done = False

    def cancel(self) -> None:
        with self._lock:  # while it is held the thread can neither finish nor enter a shield
            if self.done or self.cancelled_at is not None:
                return
            self.cancelled_at = monotonic()
            if not self._thread:
                self.done = True
            elif not self._shields:
                self._interrupt()

    def run(self) -> None:
        with self._lock:
            if self.done:
                return
            self._thread = threading.get_ident()
        try:
            copy_context().run(self._within)
            self._finish()
        except Aborted:
            self.done = True
        except BaseException:  # a function reports its own errors: this is a defect of ours
            traceback.print_exc()
            self.done = True
        self._cleanup()

    def _within(self) -> None:
        current.set(self._context)
        self._function()

    def shield(self) -> None:
        """Interruptions wait until `unshield`."""
        with self._lock:
            self._shields += 1
            asked = self.cancelled_at is not None
        if asked:
            with suppress(Aborted):  # `unshield` raises it again
                self._await_interruption()

    def unshield(self) -> None:
        with self._lock:
            self._shields -= 1
            asked = self.cancelled_at is not None
        if asked and not self._shields:
            raise Aborted

    def _finish(self) -> None:
        with self._lock:
            self.done = True
            asked = self.cancelled_at is not None
        if asked:
            self._await_interruption()  # it must not hit what this thread runs next

    def _interrupt(self) -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(Aborted))

    @staticmethod
    def _await_interruption() -> None:
        for _ in range(_DELIVERY_TURNS):
            time.sleep(0)


def interruptible() -> bool:
    """This is a thread of the pool, inside a function."""
    ticket: Ticket | None = getattr(_here, "ticket", None)
    return ticket is not None and not ticket.done


@contextmanager
def shielded() -> Iterator[None]:
    """No interruption of a pool's thread inside this block."""
    ticket: Ticket | None = getattr(_here, "ticket", None)
    if ticket is None or ticket.done:
        yield
        return
    ticket.shield()
    try:
        yield
    finally:
        ticket.unshield()


class Pool:
    """Runs functions in threads that are started as they are needed, up to `size`."""

    def __init__(self, size: int) -> None:
        self.size = max(1, size)
        self._queue: SimpleQueue[Ticket] = SimpleQueue()  # bounded in `submit`: Queue costs ten times as much
        self._running: dict[int, Ticket] = {}
        self._threads = 0
        self._lock = threading.Lock()

    def submit(self, function: Callable[[], object], context: Context) -> Ticket:
        """Run a function in a thread as soon as one is free. BusyError where too many wait."""
        ticket = Ticket(function, context)
        self.put(ticket)
        return ticket

    def put(self, ticket: Ticket) -> None:
        """As `submit`, for a ticket that was made before."""
        if self._queue.qsize() >= MAX_WAITING:
            raise BusyError(f"{MAX_WAITING} functions wait for a thread already")
        self._queue.put(ticket)
        with self._lock:
            idle = self._threads - len(self._running)
            if idle < self._queue.qsize() and self._threads < self.size:
                self._threads += 1
                threading.Thread(target=self._serve, name="functions", daemon=True).start()

    def stuck(self, grace_s: float) -> bool:
        """Every thread runs what was to be stopped more than `grace_s` ago, and others wait."""
        latest = monotonic() - grace_s
        running = list(self._running.values())
        return (
            len(running) >= self.size
            and not self._queue.empty()
            and all(t.cancelled_at is not None and t.cancelled_at < latest for t in running)
        )

    def _serve(self) -> None:
        me = threading.get_ident()
        while True:
            ticket = self._queue.get()
            self._running[me] = _here.ticket = ticket
            ticket.run()
            _here.ticket = None
            del self._running[me]
            del ticket  # with all that its function holds
            if self._threads > self.size:
                with self._lock:
                    self._threads -= 1
                return
