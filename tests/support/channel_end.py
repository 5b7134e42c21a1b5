"""The module's end of a channel: a real worker process, and frames sent to it and received from it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from keymiss.channel import Frame, FrameReader, encode
from support.models_worker import start_worker

PATIENCE_S = 60.0  # importing torch on a busy machine takes its time


def end(worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()
    if worker.stderr:
        worker.stderr.close()


@contextmanager
def child_worker(
    environment: Mapping[str, str] | None = None, package: str = "keymiss.inference"
) -> Iterator[tuple[socket.socket, subprocess.Popen[str]]]:
    """A server's end of a channel, and the worker at the other one."""
    ours, its = socket.socketpair()
    worker = start_worker(fd=its.fileno(), environment=environment, package=package)
    its.close()
    try:
        with ours:
            yield ours, worker
    finally:
        end(worker)


class ModuleEnd:
    """Speaks to one worker, as the module of the shard that `hello` describes. Every wait has a deadline."""

    def __init__(self, sock: socket.socket, role: str, **hello: object) -> None:
        self.sock = sock
        self.reader = FrameReader()
        self.unread: list[Frame] = []
        self.last_id = 0
        told = {"role": role, "node": "0" * 40, "pid": os.getpid(), "port": 1, **hello}
        pairs = [x for name, value in told.items() for x in (name.replace("_", "-"), str(value))]
        self.send("HELLO", 1, *pairs)
        self.ready = self.receive("READY")

    def send(self, *parts: bytes | str | int) -> None:
        self.sock.sendall(encode(*parts))

    def receive(self, verb: str, first: str | int | None = None, timeout_s: float = PATIENCE_S) -> Frame:
        """The next frame of this verb whose first argument is `first`; others are kept for later."""
        deadline = time.monotonic() + timeout_s
        while True:
            for n, frame in enumerate(self.unread):
                if frame[0] == verb.encode() and (first is None or frame[1] == str(first).encode()):
                    return self.unread.pop(n)
            self.sock.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.sock.recv(1 << 18)
            if not data:
                raise ConnectionError("the worker closed the channel")
            self.unread += self.reader.feed(data)
