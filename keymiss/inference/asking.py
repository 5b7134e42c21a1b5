"""What a script asks while it runs: CALL and MODEL of its shard, and models of this process.

A script's thread waits here, holding its device; the loop's thread brings the answer. An answer that takes
longer than a moment finds the device lent to others meanwhile. Every wait ends: with the answer, with the job
(deadline, CANCEL), or with the channel.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar

import hiredis

from keymiss.channel import Channel, Frame, Job, number, parse_reply
from keymiss.errors import ChannelError, ScriptError
from keymiss.inference.batcher import DeviceQueue

T = TypeVar("T")

# A shard that is not busy answers in a tenth of this; to lend a device costs about as much.
PATIENCE_S = 0.002
LONGEST_WAIT_S = 300.0  # of a job without a deadline
_GRACE_S = 1.0  # behind the deadline, which ends the job, and with it the wait


class Asker:
    """The questions of the scripts of one channel. `ask` and `wait` are for their threads, the rest for the
    loop's."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._last_seq = 0
        self._asked: dict[int, Future[bytes]] = {}
        self._waits: defaultdict[int, set[Future[Any]]] = defaultdict(set)  # of each job

    def ask(self, job: Job, queue: DeviceQueue, verb: str, *parts: bytes) -> Any:
        """Send `<verb> <seq> <job> <parts>...`; its RESULT, as parse_reply gives it. ScriptError where that
        is an error, or will not come."""
        answer: Future[bytes] = Future()
        with self._lock:
            self._last_seq += 1
            seq = self._last_seq
            self._asked[seq] = answer
        try:
            self._channel.send(verb, seq, job.id, *parts)
            reply = parse_reply(self.wait(job, queue, answer))
        except ChannelError as error:
            raise ScriptError(str(error)) from None
        finally:
            with self._lock:
                self._asked.pop(seq, None)
        if isinstance(reply, hiredis.ReplyError):
            raise ScriptError(str(reply))
        return reply

    def wait(self, job: Job, queue: DeviceQueue, answer: Future[T]) -> T:
        """What `answer` brings, within the time of the job, whose device is `queue`."""
        with self._lock:
            self._waits[job.id].add(answer)
        try:
            if job.finished or self._channel.closed:  # they looked before this wait was known
                answer.cancel()
            with suppress(TooLate):
                return answer.result(PATIENCE_S)
            with queue.lent():
                left_s = job.deadline + _GRACE_S - monotonic()
                return answer.result(max(0.0, min(left_s, LONGEST_WAIT_S)))
        except TooLate:
            raise ScriptError("the deadline passed before the answer came") from None
        except CancelledError:
            raise ScriptError("nobody waits for the script any more") from None
        finally:
            with self._lock:
                waits = self._waits[job.id]
                waits.discard(answer)
                if not waits:
                    del self._waits[job.id]

    def answered(self, frame: Frame) -> None:
        """`RESULT <seq> <reply>`. One that nobody waits for any more is dropped."""
        if len(frame) != 3:
            raise ChannelError("malformed RESULT")
        with self._lock:
            answer = self._asked.pop(number(frame[1]), None)
        if answer is not None and answer.set_running_or_notify_cancel():
            answer.set_result(frame[2])

    def end(self, job: Job) -> None:
        """Nobody waits for this job any more."""
        with self._lock:
            waits = list(self._waits.get(job.id, ()))
        for answer in waits:
            answer.cancel()
