"""Legs: what a process beside the worker runs (processes.py is the worker's side).

    JOB <id> COMMAND 0 0 "" LEG <order>       run these steps on what this source reads
    RECORDS <id> <records>                    what has come out so far
    READ <id>                                 the worker has read one of these messages
    DONE <id> +OK <errors> <overridden> <durations>   that was all

All but the numbers are pickles. `<overridden>` is what override_reply gave, a RESP2 value; `<durations>` what
Durations.told gives, nothing where it was not asked for.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import threading
from collections import OrderedDict
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from keymiss.channel import Frame, number
from keymiss.errors import ChannelError, GearsError
from keymiss.functions import blobs, replies
from keymiss.functions.answers import Pending
from keymiss.functions.builder import Run
from keymiss.functions.context import Context
from keymiss.functions.drive import Drive
from keymiss.functions.durations import Durations, pipeline
from keymiss.functions.environments import Environment
from keymiss.functions.errors import Aborted, error_text
from keymiss.functions.executions import ABORTED_TEXT
from keymiss.functions.job import FunctionJob
from keymiss.functions.pool import shielded
from keymiss.functions.registering import Registering
from keymiss.functions.runtime import script_globals
from keymiss.functions.serving import Serving
from keymiss.functions.shard import Shard
from keymiss.functions.steps import Plan

CHUNK_RECORDS = 500
UNDER_WAY = 4  # messages that wait to be read
_MAX_KEPT = 64  # registrations whose functions stay loaded


@dataclass(frozen=True, slots=True)
class Order:
    """What a process needs to know to run a leg."""

    session: str
    functions: bytes  # blobs.dump of the steps
    source: bytes  # and of what they read
    kept_as: str  # the registration whose functions these are: they are loaded once, and share their globals
    environment: str | None  # the folder of the packages that the session requires
    command: list[bytes] | None
    config: dict[str, str]
    tracebacks: bool
    timed: bool


class Opaque:
    """In the place of a record that cannot be sent: a reply shows both alike, and neither can be sent on."""

    def __reduce__(self) -> str:
        raise TypeError("cannot pickle the record")


def packed(record: Any) -> bytes:
    """A record as bytes; none where it cannot be sent."""
    try:
        return bytes(cloudpickle.dumps(record))
    except Exception:
        return b""


def unpacked(record: bytes) -> Any:
    return pickle.loads(record) if record else Opaque()


class Away:
    """The session of functions that run here: what it has to do, the worker does."""

    profiling = None  # RG.PYPROFILE is of what runs in the worker

    def __init__(self, shard: Shard, name: str, environment: str | None) -> None:
        self._shard = shard
        self.name = name
        self.globals: dict[str, Any] = script_globals()
        if environment is not None:
            self.globals["__builtins__"] = _environment(environment).builtins

    @property
    def background(self) -> Away:
        return self

    def execute(self, *argv: Any) -> Any:
        return self._shard.execute(*argv)

    def run(self, run: Run) -> Pending[Any]:
        """An awaitable of [results, errors]."""
        return self._shard.ask_async(b"ASK", b"run", self._dumped(run)).then(_value)

    def register(self, registering: Registering) -> str:
        return str(_value(self._shard.ask(b"ASK", b"register", self._dumped(registering))))

    def _dumped(self, value: Any) -> bytes:
        return blobs.dump(value, script_globals(), self.globals)


class Legs(Serving):
    """A process beside the worker, on a channel whose other end is the worker. Legs are its jobs."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(sock, loop, os.getppid(), {b"READ": self._on_read})
        self._outboxes: dict[int, _Outbox] = {}
        self._kept: OrderedDict[tuple[str, bytes], tuple[Away, Plan]] = OrderedDict()

    def child_starts(self) -> None:
        with suppress(ChannelError):  # a child of ours that starts one
            self.channel.send(b"STARTED")

    def serve(self, job: FunctionJob) -> None:
        """Run a leg in the pool."""
        order = pickle.loads(job.argv[1])
        self.shard.config = order.config
        self.shard.in_pool(lambda: self._start(job, order), Context(job))

    def _start(self, job: FunctionJob, order: Order) -> None:
        try:
            session, steps = self._loaded(order)
            source = blobs.load(order.source, script_globals(), session.globals)
        except GearsError as error:
            job.fail(str(error))
            return
        errors: list[str] = []
        outbox = self._outboxes[job.id] = _Outbox(self.shard, job)
        context = Context(job, session=session, command=order.command, async_allowed=True)
        durations = Durations() if order.timed else None
        work = pipeline(steps, outbox.put, errors, order.tracebacks, durations).read(
            source.records(self.shard.execute)
        )

        def ended(error: BaseException | None) -> None:
            if isinstance(error, Aborted):
                errors.append(str(error) or ABORTED_TEXT)
            elif error is not None:
                errors.append(error_text(error))
            outbox.flush()
            del self._outboxes[job.id]
            times = [] if durations is None else durations.told(steps)
            job.done(replies.OK, pickle.dumps(errors), job.overridden or b"", pickle.dumps(times))

        Drive(self.shard, work, context, ended).start()

    def _on_read(self, frame: Frame) -> None:
        outbox = self._outboxes.get(number(frame[1]))
        if outbox is not None:
            outbox.read()

    def _loaded(self, order: Order) -> tuple[Away, Plan]:
        key = order.kept_as, order.functions
        known = self._kept.get(key) if order.kept_as else None
        if known is None:
            session = Away(self.shard, order.session, order.environment)
            known = session, blobs.load(order.functions, script_globals(), session.globals)
        if order.kept_as:
            self._kept[key] = known
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return known


class _Outbox:
    """The records that come out of a leg, on their way. `read` is for the loop's thread, all else for the
    leg's.
    """

    def __init__(self, shard: Shard, job: FunctionJob) -> None:
        self._shard = shard
        self._job = job
        self._records: list[bytes] = []
        self._under_way = 0  # messages that were not read
        self._room: asyncio.Future[None] | None = None
        self._lock = threading.Lock()

    def put(self, record: Any) -> Awaitable[None] | None:
        """Take a record; what is to be awaited where too many are under way."""
        self._records.append(packed(record))
        if len(self._records) < CHUNK_RECORDS:
            return None
        self.flush()
        with self._lock:
            if self._under_way < UNDER_WAY:
                return None
            self._room = self._shard.loop.create_future()
            return self._room

    def flush(self) -> None:
        """Send what is here."""
        records, self._records = self._records, []
        if records and not self._job.finished:
            with self._lock:
                self._under_way += 1
            with shielded():
                self._shard.channel.send(b"RECORDS", self._job.id, pickle.dumps(records))

    def read(self) -> None:
        """The worker has read a message."""
        with self._lock:
            self._under_way -= 1
            room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)


def _value(reply: bytes) -> Any:
    """What the worker answered. GearsError where it refused."""
    return pickle.loads(replies.bytes_from_resp(reply))


@lru_cache(maxsize=_MAX_KEPT)
def _environment(folder: str) -> Environment:
    environment = Environment(Path(folder))
    environment.add()
    return environment
