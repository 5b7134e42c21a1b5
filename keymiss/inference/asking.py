"""What a script asks its shard while it runs: CALL and MODEL, and the RESULTs to them; and who stops it when
nobody waits for it any more.

A script's thread waits here, holding its device; the loop's thread brings the answer. An answer that takes
longer than a moment finds the device lent to others meanwhile. Every wait ends: with the answer, with the job
(deadline, CANCEL), or with the channel.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, TypeVar

import hiredis

from keymiss.channel import Channel, Frame, Job, encode, number, parse_reply
from keymiss.errors import ChannelError, ScriptError
from keymiss.inference.batcher import DeviceQueue

T = TypeVar("T")

# How long a script keeps a device that nobody else wants, while it waits. A shard that is not busy answers in
# a tenth of this; to lend a device costs about as much.
PATIENCE_S = 0.002
LONGEST_WAIT_S = 300.0  # of a job without a deadline
_GRACE_S = 1.0  # behind the deadline, which ends the job, and with it the wait


def settle(answer: Future[T], result: T) -> None:
    """Bring an answer, unless nobody waits for it any more."""
    if answer.set_running_or_notify_cancel():
        answer.set_result(result)


def fail(answer: Future[T], error: Exception) -> None:
    """Bring an error instead, which is raised where the answer is waited for."""
    if answer.set_running_or_notify_cancel():
        answer.set_exception(error)


def understood(reply: bytes) -> Any:
    """What a RESULT says, as parse_reply gives it. ScriptError where it is an error."""
    try:
        value = parse_reply(reply)
    except ChannelError as error:
        raise ScriptError(str(error)) from None
    if isinstance(value, hiredis.ReplyError):
        raise ScriptError(str(value))
    return value


class Asker:
    """The questions of the scripts of one channel. `ask` is for their threads, the rest for the loop's."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._last_seq = 0
        self._asked: dict[int, tuple[Future[Any], Callable[[Future[Any], bytes], object]]] = {}
        self._stops: defaultdict[int, set[Callable[[], object]]] = defaultdict(set)  # see watching; by job

    def ask(
        self,
        job: Job,
        queue: DeviceQueue,
        verb: str,
        *parts: bytes,
        then: Callable[[Future[T], bytes], object],
    ) -> T:
        """Send `<verb> <seq> <job> <parts>...` and wait, within the time of the job, whose device is `queue`.
        `then` is called on the loop's thread with what the RESULT says, and settles the answer, now or later.
        ScriptError where none will come."""
        answer: Future[T] = Future()
        with self._lock:
            self._last_seq += 1
            seq = self._last_seq
            self._asked[seq] = answer, then
        try:
            with self.watching(job, answer.cancel):
                frame = encode(verb, seq, job.id, *parts)
                if wrong := self._channel.too_large(len(frame), 3 + len(parts)):
                    raise ScriptError(f"the command is too large: it has {wrong}")
                self._channel.write(frame)
                with suppress(TooLate):
                    return answer.result(0 if queue.depth else PATIENCE_S)
                with queue.lent():
                    left_s = job.deadline + _GRACE_S - monotonic()
                    return answer.result(max(0.0, min(left_s, LONGEST_WAIT_S)))
        except TooLate:
            raise ScriptError("the deadline passed before the answer came") from None
        except CancelledError:
            raise ScriptError("nobody waits for the script any more") from None
        except ChannelError as error:
            raise ScriptError(str(error)) from None
        finally:
            answer.cancel()  # whoever is about to settle it need not
            with self._lock:
                self._asked.pop(seq, None)

    @contextmanager
    def watching(self, job: Job, stop: Callable[[], object]) -> Iterator[None]:
        """While this lasts, `stop` is called once nobody waits for the job any more: here or on the loop's
        thread."""
        with self._lock:
            self._stops[job.id].add(stop)
        try:
            if job.finished or self._channel.closed:  # they looked before this one was known
                stop()
            yield
        finally:
            with self._lock:
                self._stops[job.id].discard(stop)
                if not self._stops[job.id]:
                    del self._stops[job.id]

    def answered(self, frame: Frame) -> None:
        """`RESULT <seq> <reply>`. One that nobody waits for any more is dropped."""
        if len(frame) != 3:
            raise ChannelError("malformed RESULT")
        with self._lock:
            asked = self._asked.pop(number(frame[1]), None)
        if asked is not None:
            answer, then = asked
            try:
                then(answer, frame[2])
            except Exception as error:  # of one script: the others have answers to come
                fail(answer, error)

    def end(self, job: Job) -> None:
        """Nobody waits for this job any more."""
        with self._lock:
            stops = list(self._stops.get(job.id, ()))
        for stop in stops:
            stop()
