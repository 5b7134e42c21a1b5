"""The functions worker: takes frames from the module and gives each to what serves it.

Here is only who gets what, when a job may run, what happens when its handler fails, and when the worker is of
no use any more; `Services` do the work. All of this file runs on the loop's thread but `_watch_children`.

A worker that functions have spoilt (docs/limits.md says how) answers the jobs that cannot be run twice, says
why in the log, and ends with all processes that functions have started. The module starts another, and gives
it the other jobs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from time import sleep
from typing import Protocol

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
CHILDREN_WATCH_S = 0.1  # a shell starts a thousand processes in a second
CHILDREN_COUNTS = 10  # after one was started, and as long as there are any
_NOT_TWICE = (COMMAND, HOOKED)  # jobs that the module does not give to another worker


class Services(Protocol):
    """What serves the frames (`gears.Gears`).

    Handlers of jobs may raise: the job is then answered by the error.
    """

    def run(self, job: FunctionJob) -> object: ...  # COMMAND
    def fire(self, job: FunctionJob) -> object: ...  # MISS, EVENT, HOOKED
    def restore(self, registration: str, blob: bytes) -> object: ...  # REGISTRATION
    def forget(self, registration: str) -> object: ...  # UNREGISTRATION
    def receive(self, node: str, payload: bytes) -> object: ...  # PEER


class Worker:
    """One worker on one channel.

    `ended` resolves, to the reason if there is one, when the channel has ended.
    """

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, serve: Callable[[Shard], Services]
    ) -> None:
        self.ended: asyncio.Future[Exception | None] = loop.create_future()
        self.jobs: JobTable
        self.shard: Shard
        self._services: Services
        self._loop = loop
        self._children = threading.Event()  # a function has started a process: there is something to count
        self.limits = Limits(os.getpid(), self._children.set)
        self._holding = Holding(loop)
        self._later: deque[Callable[[], object]] = deque()  # came while this thread waited for an answer
        handlers = {
            b"SETTING": self._on_setting,
            b"JOB": self._on_job,
            b"RESULT": lambda frame: self.shard.on_answer(frame),
            b"OUTPUTS": lambda frame: self.shard.on_answer(frame),
            b"CANCEL": lambda frame: self.jobs.cancel(number(frame[1])),
            b"REGISTRATION": self._on_registration,
            b"UNREGISTRATION": lambda frame: self._alone(self._services.forget, frame[1].decode()),
            b"PEER": self._on_peer,
        }
        self.channel = Channel(sock, loop, handlers, self._on_hello, self._on_end)
        self.jobs = JobTable(self.channel, loop)
        self.shard = Shard(self.channel, loop)
        context.set_shard(self.shard)
        self._services = serve(self.shard)
        watch_pid(peer_pid(sock), loop, lambda: self.channel.end(ChannelError("the server has gone")))
        forks.guard(self.channel, sock.fileno(), loop)
        self.limits.install()

    def _on_hello(self, hello: Hello) -> None:
        if hello.role != "functions":
            raise ChannelError(f"this is a functions worker, the module wants a {hello.role!r} worker")
        self._follow_settings()
        self._watch()
        threading.Thread(target=self._watch_children, name="children", daemon=True).start()

    def _on_setting(self, frame: Frame) -> None:
        self.channel.set(frame)
        self._follow_settings()

    def _follow_settings(self) -> None:
        hello, shard = self.channel.hello, self.shard
        shard.pool.size = max(1, hello.setting("functions-threads", DEFAULT_THREADS))
        shard.allowance.per_s = hello.setting("functions-output", DEFAULT_BYTES)
        self._holding.limit_s = hello.setting("loop-timeout-ms", DEFAULT_LOOP_TIMEOUT_MS) / 1000
        self.limits.follow(hello)

    def _on_end(self, reason: Exception | None) -> None:
        self.shard.on_end()
        if not self.ended.done():
            self.ended.set_result(reason)

    # Frames

    def _on_job(self, frame: Frame) -> None:
        job = FunctionJob(frame, self.jobs)
        self.jobs.add(job)
        if self.channel.nesting and not job.sync:
            self._do_later(lambda: self._run(job))
        else:
            self._run(job)

    def _run(self, job: FunctionJob) -> None:
        if job.finished:  # cancelled while it waited
            return
        try:
            if job.kind == COMMAND:
                self._services.run(job)
            else:
                self._services.fire(job)
        except (KeymissError, Aborted) as error:
            job.fail(f"ERR {error}")
        except Exception as error:  # a defect of ours: the client gets an answer all the same
            traceback.print_exc()
            job.fail(f"ERR {type(error).__name__}: {error}")

    def _on_registration(self, frame: Frame) -> None:
        self._alone(self._services.restore, frame[1].decode(), frame[2])

    def _on_peer(self, frame: Frame) -> None:
        node, payload = frame[1].decode(), frame[2]
        if self.channel.nesting:
            self._do_later(lambda: self._alone(self._services.receive, node, payload))
        else:
            self._alone(self._services.receive, node, payload)

    def _alone(self, serve: Callable[..., object], *arguments: object) -> None:
        """Serve a frame that nobody waits for: where that fails, the frames behind it are still served."""
        try:
            serve(*arguments)
        except Exception as error:
            traceback.print_exc()
            self.shard.log(f"{serve.__name__} {arguments[0]} failed: {error}", "warning")

    def _do_later(self, what: Callable[[], object]) -> None:
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
            self._give_up(reason)
            self.channel.end(ChannelError(reason))
        self._loop.call_later(WATCH_S, self._watch)

    def _watch_children(self) -> None:
        """In a thread of its own: processes that get out of hand do so faster than the loop may turn."""
        while self._children.wait():
            self._children.clear()
            for _ in range(CHILDREN_COUNTS):
                there = self.limits.count_children()
                if there > self.limits.children:
                    self._give_up(
                        f"its functions had started {there} processes, "
                        f"{self.limits.children} are allowed (keymiss.functions-children)"
                    )
                    end_group(1)
                sleep(CHILDREN_WATCH_S)
            if there:
                self._children.set()

    def _give_up(self, reason: str) -> None:
        """Say why this worker ends, also to those whose job no other worker will run. Every thread."""
        self.shard.log(f"{reason}: starting a new worker", "warning")
        for job in list(self.jobs.waiting.values()):
            if job.kind in _NOT_TWICE:
                job.fail(f"ERR the functions worker had to be ended while it ran this: {reason}")


def main(sock: socket.socket, serve: Callable[[Shard], Services], output: Output) -> None:
    """Serve, then end the process at once:

    users' threads and coroutines may still run, and nobody waits for them.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = Worker(sock, loop, serve)
    worker.shard.allowance = output.allowance
    worker.ended.add_done_callback(lambda _: loop.stop())
    while not worker.ended.done():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt, Aborted) as end:  # of what a function started
            print(f"a function cannot end its process: {end!r}", file=sys.stderr)
    reason = worker.ended.result()
    if reason is not None:
        traceback.print_exception(reason)
    output.drain()
    end_group(0 if reason is None else 1)
