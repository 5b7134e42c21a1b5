"""The pool: a few threads for the plain functions of users.

1. `submit` is for every thread; the queue is bounded, BusyError when it is full.
2. A function that is to be stopped is interrupted: `Aborted` is raised in its thread at its next line
   of Python, and again where it catches that. A thread inside a call of C cannot be interrupted: another
   takes its place meanwhile, as many as there are threads; `hopeless` tells when the process is of no use.
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
from keymiss.functions.forks import leave_if_child

MAX_WAITING = 10_000
STUCK_GRACE_S = 3.0  # from an interruption until a function counts as stuck
_BUSY = 0.2  # of a core: a stuck function that computes slows all others down
_DELIVERY_TURNS = 100  # by then an interruption that was asked for has been raised; usually it takes one

_here = threading.local()  # .ticket: the one that this thread runs


class Ticket:
    """A function in the pool. `cancel` keeps it from starting, or interrupts it."""

    __slots__ = (
        "_cleanup",
        "_context",
        "_cpu",
        "_function",
        "_lock",
        "_shields",
        "_thread",
        "cancelled_at",
        "done",
    )

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
        self._cpu = (0.0, 0.0)  # when it was looked at last, and what its thread had used by then
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

    def insist(self) -> None:
        """Interrupt it again: it has caught what `cancel` raised."""
        with self._lock:
            if not self.done and self.cancelled_at is not None and self._thread and not self._shields:
                self._interrupt()

    def stuck(self, since: float) -> bool:
        """It was to be stopped before `since`, and runs."""
        return not self.done and self.cancelled_at is not None and self.cancelled_at < since

    def load(self) -> float:
        """The part of a core that its thread has used since the last call."""
        with self._lock:
            if self.done or not self._thread:
                return 0.0
            used = time.clock_gettime(time.pthread_getcpuclockid(self._thread))
        now = monotonic()
        (before, used_before), self._cpu = self._cpu, (now, used)
        return (used - used_before) / (now - before) if before else 0.0

    def run(self) -> None:
        with self._lock:
            if self.done:
                return
            self._thread = threading.get_ident()
        try:
            copy_context().run(self._within)
            leave_if_child()
            self._finish()
        except Aborted:
            self._finish()
        except BaseException:  # a function reports its own errors: this is a defect of ours
            traceback.print_exc()
            self._finish()
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
        """An interruption that was asked for must not hit what this thread runs next."""
        while True:
            with suppress(Aborted):
                with self._lock:
                    self.done = True
                    asked = self.cancelled_at is not None
                if asked:
                    self._await_interruption()
                return

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
        self._replaced = 0  # threads that are stuck: others take their places
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
        self._start_thread()

    def _start_thread(self) -> None:
        """Start one if something waits and there may be one more."""
        with self._lock:
            idle = self._threads - len(self._running)
            if idle < self._queue.qsize() and self._threads < self.size + self._replaced:
                threading.Thread(target=self._serve, name="functions", daemon=True).start()
                self._threads += 1

    def watch(self) -> str | None:
        """To be called every second or so: deals with functions that do not stop.

        What is wrong where that cannot be helped in this process.
        """
        now = monotonic()
        stopping = [ticket for ticket in list(self._running.values()) if ticket.stuck(now)]
        for ticket in stopping:
            ticket.insist()
        stuck = [ticket for ticket in stopping if ticket.stuck(now - STUCK_GRACE_S)]
        if len(stuck) >= self.size:
            return f"{len(stuck)} functions cannot be stopped: they are inside calls that do not return"
        loads = [ticket.load() for ticket in stuck]
        if loads and max(loads) > _BUSY:
            return "a function that cannot be stopped keeps a core busy"
        self._replaced = len(stuck)
        self._start_thread()
        return None

    def _serve(self) -> None:
        me = threading.get_ident()
        while True:
            ticket = self._queue.get()
            self._running[me] = _here.ticket = ticket
            ticket.run()
            _here.ticket = None
            del self._running[me]
            del ticket  # with all that its function holds
            if self._threads > self.size + self._replaced:
                with self._lock:
                    self._threads -= 1
                return
