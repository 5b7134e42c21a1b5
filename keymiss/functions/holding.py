"""A coroutine, or a `sync` function, that computes without end holds the loop's thread, and with it all other
functions: it is interrupted.

An alarm is set, and put off twice a second by the loop itself. Where the loop does not turn the alarm goes
off: its handler runs on the loop's thread, the main one, whatever that does (in between two lines of Python,
in a sleep, in a regular expression), sees whose code that is, and raises Aborted there if it is a function's.
Where a function is inside our own code (it waits for the server, or writes to it) it is interrupted
afterwards. One that catches Aborted is interrupted again.

Where a call of C does not let go of the interpreter no handler runs. What all threads do then is written to
the log, by a thread of C: the module will end this process (keymiss.hang-timeout-ms), and this tells why.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
from types import FrameType

from keymiss.functions.errors import OWN_CODE, Aborted
from keymiss.functions.readers import PythonSource
from keymiss.functions.steps import Pipeline
from keymiss.functions.tasks import answering, guarded

BEAT_S = 0.5
AGAIN_S = 0.1
SHOW_AFTER_S = 1.0  # when an alarm should have been handled
DEFAULT_LOOP_TIMEOUT_MS = 10_000
# The functions of ours that call functions of users.
_CALLERS = frozenset(
    function.__code__ for function in (Pipeline._call, PythonSource.records, guarded, answering)
)


class Holding:
    """Watches one loop. Made on the main thread, which is the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._limit_s = DEFAULT_LOOP_TIMEOUT_MS / 1000
        self.show_on: int | None = None  # the descriptor of the log
        signal.signal(signal.SIGALRM, self._on_alarm)
        self._beat()

    @property
    def limit_s(self) -> float:
        """How long the loop may be held, less than BEAT_S more or less."""
        return self._limit_s

    @limit_s.setter
    def limit_s(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._put_off()

    def _put_off(self) -> None:
        alarm_s = self._limit_s + BEAT_S
        signal.setitimer(signal.ITIMER_REAL, alarm_s)
        if self.show_on is not None:
            faulthandler.dump_traceback_later(alarm_s + SHOW_AFTER_S, file=self.show_on)

    def _beat(self) -> None:
        self._put_off()
        self._loop.call_later(BEAT_S, self._beat)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        if self._is_users(frame):
            raise Aborted(
                f"it computed for {self._limit_s:g} s and let no other function run (keymiss.loop-timeout-ms)"
            )

    def _is_users(self, frame: FrameType | None) -> bool:
        """The nearest function of this package on the stack is one that calls users' functions."""
        while frame is not None and not frame.f_code.co_filename.startswith(OWN_CODE):
            frame = frame.f_back
        if frame is None:
            return False
        # Below the loop itself is a task that a function has started, or nothing: the loop waits.
        return frame.f_code in _CALLERS or (
            frame.f_code.co_name == "main" and asyncio.current_task(self._loop) is not None
        )
