"""The functions worker: takes frames from the module and gives each to what serves it.

Here is only who gets what, and what happens when functions start too many processes; `Services` do the work.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import traceback
from collections.abc import Callable
from time import sleep
from typing import Protocol

from keymiss.channel import Frame, Hello
from keymiss.functions.job import COMMAND, FunctionJob
from keymiss.functions.limits import end_group
from keymiss.functions.serving import Serving
from keymiss.functions.shard import Shard

CHILDREN_WATCH_S = 0.1  # a shell starts a thousand processes in a second
CHILDREN_COUNTS = 10  # after one was started, and as long as there are any


class Services(Protocol):
    """What serves the frames (`gears.Gears`).

    Handlers of jobs may raise: the job is then answered by the error.
    """

    def greet(self) -> object: ...  # HELLO
    def run(self, job: FunctionJob) -> object: ...  # COMMAND
    def fire(self, job: FunctionJob) -> object: ...  # MISS, EVENT, HOOKED
    def restore(self, registration: str, blob: bytes) -> object: ...  # REGISTRATION
    def forget(self, registration: str) -> object: ...  # UNREGISTRATION
    def receive(self, node: str, payload: bytes) -> object: ...  # PEER
    def changed(self, setting: Frame) -> object: ...  # SETTING
    def configure(self, kept: bytes) -> object: ...  # KEPT


class Worker(Serving):
    """The one on the server's channel. All of it runs on the loop's thread but `_watch_children`."""

    def __init__(
        self, sock: socket.socket, loop: asyncio.AbstractEventLoop, serve: Callable[[Shard], Services]
    ) -> None:
        self._services: Services
        self._children = threading.Event()  # a function has started a process: there is something to count
        verbs = {
            b"REGISTRATION": self._on_registration,
            b"UNREGISTRATION": lambda frame: self._alone(self._services.forget, frame[1].decode()),
            b"PEER": self._on_peer,
            b"KEPT": lambda frame: self._alone(self._services.configure, frame[1]),
        }
        super().__init__(sock, loop, os.getpid(), verbs)
        self.shard.limits, self.shard.jobs = self.limits, self.jobs
        self._services = serve(self.shard)

    def on_hello(self, hello: Hello) -> None:
        super().on_hello(hello)
        self._services.greet()
        threading.Thread(target=self._watch_children, name="children", daemon=True).start()

    def on_setting(self, frame: Frame) -> None:
        super().on_setting(frame)
        self._services.changed(frame)

    def serve(self, job: FunctionJob) -> object:
        return self._services.run(job) if job.kind == COMMAND else self._services.fire(job)

    def _on_registration(self, frame: Frame) -> None:
        self._alone(self._services.restore, frame[1].decode(), frame[2])

    def _on_peer(self, frame: Frame) -> None:
        node, payload = frame[1].decode(), frame[2]
        if self.channel.nesting:
            self.do_later(lambda: self._alone(self._services.receive, node, payload))
        else:
            self._alone(self._services.receive, node, payload)

    def _alone(self, serve: Callable[..., object], *arguments: object) -> None:
        """Serve a frame that nobody waits for: where that fails, the frames behind it are still served."""
        try:
            serve(*arguments)
        except Exception as error:
            traceback.print_exc()
            self.shard.log(f"{serve.__name__} {arguments[0]} failed: {error}", "warning")

    # Processes of functions

    def child_starts(self) -> None:
        self._children.set()

    def _watch_children(self) -> None:
        """In a thread of its own: processes that get out of hand do so faster than the loop may turn."""
        while self._children.wait():
            self._children.clear()
            for _ in range(CHILDREN_COUNTS):
                there = self.limits.count_children()
                if there > self.limits.children:
                    self.give_up(
                        f"its functions had started {there} processes, "
                        f"{self.limits.children} are allowed (keymiss.functions-children)"
                    )
                    end_group(1)
                sleep(CHILDREN_WATCH_S)
            if there:
                self._children.set()
