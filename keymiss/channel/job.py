"""Jobs: JOB frames that wait for their DONE.

A job is in its worker's table from its frame until its end, and ends once: by `done`, which may be
called on any thread and of which only the first call sends, by CANCEL, or by its deadline. The last
two call its `on_cancel` on the loop's thread; whoever runs the job sets that to what stops it.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from time import monotonic

from keymiss.channel.connection import Channel
from keymiss.channel.deadlines import NEVER
from keymiss.channel.frames import Frame, Part, encode, error_reply
from keymiss.errors import ChannelError

SWEEP_S = 0.05  # how late a deadline may be noticed: cheaper than a timer for each job


class Job:
    """One JOB frame. `parts` is the whole frame; what belongs to the kind starts at `parts[4]`."""

    __slots__ = ("_table", "came_s", "deadline", "id", "kind", "on_cancel", "parts")

    def __init__(self, frame: Frame, table: JobTable) -> None:
        try:
            self.id = int(frame[1])
            self.kind = frame[2]
            deadline_ms = int(frame[3])
        except (ValueError, IndexError):
            raise ChannelError("malformed JOB") from None
        self.came_s = monotonic()
        self.deadline = self.came_s + deadline_ms / 1000 if deadline_ms > 0 else NEVER
        self.parts = frame
        self.on_cancel: Callable[[], object] | None = None
        self._table = table

    @property
    def finished(self) -> bool:
        """Nobody waits for this job any more."""
        return self.id not in self._table.waiting

    def done(self, reply: bytes, *more: Part) -> bool:
        """Answer the job:

        `reply` is a RESP2 value, `more` what its kind adds. False (and nothing sent) where it has
        ended. What is more than a frame holds becomes an error.
        """
        if self.finished:
            return False
        channel = self._table.channel
        # First: for a large one there may be no memory.
        frame = done_frame(channel, self.parts[1], reply, *more)
        if self._table.waiting.pop(self.id, None) is None:
            return False
        channel.write(frame, later=True)
        return True

    def fail(self, error: str) -> bool:
        """Answer the job by an error: its text, code first."""
        return self.done(error_reply(error))


def done_frame(channel: Channel, job_id: bytes, reply: bytes, *more: Part) -> bytes:
    """DONE of a job; where that is more than a frame holds, with an error instead."""
    if more:
        frame = encode(b"DONE", job_id, reply, *more)
    else:  # by hand: this is a good part of what a trivial miss costs
        frame = b"*3\r\n$4\r\nDONE\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(job_id), job_id, len(reply), reply)
    if wrong := channel.too_large(len(frame), 3 + len(more)):
        return encode(b"DONE", job_id, error_reply(f"ERR the answer is too large: it has {wrong}"))
    return frame


class JobTable:
    """The jobs of one channel that wait for their DONE.

    Belongs to the loop's thread; only `Job.done` is for any thread.
    """

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self.channel = channel
        self.waiting: dict[int, Job] = {}
        self._loop = loop
        self._sweeping = False

    def add(self, job: Job) -> None:
        self.waiting[job.id] = job
        if not self._sweeping and job.deadline != NEVER:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)

    def cancel(self, job_id: int) -> None:
        """Nobody waits for this job any more. Unknown ids (it ended meanwhile) are ignored."""
        job = self.waiting.pop(job_id, None)
        if job is not None:
            self._stop(job)

    def _sweep(self) -> None:
        if self.channel.closed:
            return
        now = monotonic()
        for job in list(self.waiting.values()):  # from which other threads take theirs meanwhile
            if job.deadline <= now and job.fail("ERR the deadline passed before the job was done"):
                self._stop(job)
        self._sweeping = bool(self.waiting)
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)

    def _stop(self, job: Job) -> None:
        if job.on_cancel is not None:
            try:
                job.on_cancel()
            except Exception:  # of one job: the others have deadlines too
                traceback.print_exc()
