"""What a functions worker and the processes beside it have in common: jobs, answers, limits.

Here is when a job may run, what happens when its handler fails, and when the process is of no use any more.
All of this file runs on the loop's thread.

A process that functions have spoilt (docs/limits.md says how) answers the jobs that cannot be run twice, says
why in the log, and ends. Another is started, and given the other jobs.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping

from keymiss.channel import Channel, Frame, Hello, JobTable, number, peer_pid, watch_pid
from keymiss.errors import ChannelError, KeymissError
from keymiss.functions import context, forks
from keymiss.functions.errors import Aborted
from keymiss.functions.holding import DEFAULT_LOOP_TIMEOUT_MS, Holding
from keymiss.functions.job import COMMAND, HOOKED, FunctionJob
from keymiss.functions.limits import Limits, end_group
from keymiss.functions.output import DEFAULT_BYTES, Output
from keymiss.functions.shard import DEFAULT_THREADS, Shard

SWITCH_INTERVAL_S = 0.0005  # a busy thread must not keep the loop waiting
WATCH_S = 1.0
_NOT_TWICE = (COMMAND, HOOKED)  # jobs that are not given to another process


class Serving(ABC):
    """One process on one channel.

    `ended` resolves, to the reason if there is one, when the channel has ended.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        leader: int,
        verbs: Mapping[bytes, Callable[[Frame], None]],
    ) -> None:
        """`leader` is the worker's pid; `verbs` are handled beside those that concern jobs."""
        self.ended: asyncio.Future[Exception | None] = loop.create_future()
        self.jobs: JobTable
        self.shard: Shard
        self._loop = loop
        self.holding = Holding(loop)
        self._later: deque[Callable[[], object]] = deque()  # came while this thread waited for an answer
        handlers = {
            b"SETTING": self.on_setting,
            b"JOB": self._on_job,
            b"RESULT": lambda frame: self.shard.on_answer(frame),
            b"OUTPUTS": lambda frame: self.shard.on_answer(frame),
            b"CANCEL": lambda frame: self.jobs.cancel(number(frame[1])),
            **verbs,
        }
        self.channel = Channel(sock, loop, handlers, self.on_hello, self._on_end)
        self.jobs = JobTable(self.channel, loop)
        self.limits = Limits(leader, self.child_starts)
        self.shard = Shard(self.channel, loop)
        context.set_shard(self.shard)
        watch_pid(peer_pid(sock), loop, lambda: self.channel.end(ChannelError("the server has gone")))
        forks.guard(self.channel, sock.fileno(), loop)
        self.limits.install()

    # What the two do differently

    @abstractmethod
    def serve(self, job: FunctionJob) -> object:
        """Run a job. It may raise: the job is then answered by the error."""

    @abstractmethod
    def child_starts(self) -> None:
        """A function is about to start a process. Every thread."""

    # Settings

    def on_hello(self, hello: Hello) -> None:
        if hello.role != "functions":
            raise ChannelError(f"this is a functions worker, the module wants a {hello.role!r} worker")
        self._follow_settings()
        self._watch()

    def on_setting(self, frame: Frame) -> None:
        self.channel.set(frame)
        self._follow_settings()

    def _follow_settings(self) -> None:
        hello, shard = self.channel.hello, self.shard
        shard.follow_log_settings()
        shard.pool.size = max(1, hello.setting("functions-threads", DEFAULT_THREADS))
        shard.allowance.per_s = hello.setting("functions-output", DEFAULT_BYTES)
        self.holding.limit_s = hello.setting("loop-timeout-ms", DEFAULT_LOOP_TIMEOUT_MS) / 1000
        self.limits.follow(hello)

    def _on_end(self, reason: Exception | None) -> None:
        self.shard.on_end()
        if not self.ended.done():
            self.ended.set_result(reason)

    # Jobs

    def _on_job(self, frame: Frame) -> None:
        job = FunctionJob(frame, self.jobs)
        self.jobs.add(job)
        if self.channel.nesting and not job.sync:
            self.do_later(lambda: self._run(job))
        else:
            self._run(job)

    def _run(self, job: FunctionJob) -> None:
        if job.finished:  # cancelled while it waited
            return
        try:
            self.serve(job)
        except (KeymissError, Aborted) as error:
            job.fail(f"ERR {error}")
        except Exception as error:  # a defect of ours: the client gets an answer all the same
            traceback.print_exc()
            text = f"{type(error).__name__}: {error}"
            self.shard.log(text, "warning", "defect", job=job)
            job.fail(f"ERR {text}")

    def do_later(self, what: Callable[[], object]) -> None:
        """Do it when the loop turns: this thread waits for an answer now."""
        self._later.append(what)
        if len(self._later) == 1:
            self._loop.call_soon(self._do_now)

    def _do_now(self) -> None:
        while self._later:
            self._later[0]()
            self._later.popleft()

    # Watching

    def _watch(self) -> None:
        """Leave when functions have made this process useless."""
        if self.channel.closed:
            return
        shard = self.shard
        dropped = shard.allowance.dropped()
        if dropped:
            shard.log(
                f"functions printed and logged {dropped} bytes more than they may (keymiss.functions-output)",
                "warning",
            )
        reason = shard.pool.watch() or self.limits.memory_full()
        if reason is not None:
            self.give_up(reason)
            self.channel.end(ChannelError(reason))
        self._loop.call_later(WATCH_S, self._watch)

    def give_up(self, reason: str) -> None:
        """Say why this worker ends, also to those whose job no other worker will run. Every thread."""
        self.shard.log(f"{reason}: starting a new worker", "warning")
        for job in list(self.jobs.waiting.values()):
            if job.kind in _NOT_TWICE:
                job.fail(f"ERR the functions worker had to be ended while it ran this: {reason}")


def main(
    sock: socket.socket, make: Callable[[socket.socket, asyncio.AbstractEventLoop], Serving], output: Output
) -> None:
    """Serve, then end the process at once:

    users' threads and coroutines may still run, and nobody waits for them.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    serving = make(sock, loop)
    serving.shard.allowance = output.allowance
    serving.holding.show_on = output.stderr
    serving.ended.add_done_callback(lambda _: loop.stop())
    while not serving.ended.done():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt, Aborted) as end:  # of what a function started
            print(f"a function cannot end its process: {end!r}", file=sys.stderr)
    reason = serving.ended.result()
    if reason is not None:
        traceback.print_exception(reason)
    output.drain()
    end_group(0 if reason is None else 1)
