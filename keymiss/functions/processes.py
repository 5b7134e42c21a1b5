"""Processes beside the worker: executions run there, so that several use several cores.

1. With `keymiss.functions-processes` n above 1 the worker starts up to n of them, as they are needed. Each
   serves a channel like the worker's own, at whose other end is the worker (legs.py is that side).
2. A leg of an execution runs whole in the process that has the fewest. Its functions travel as they do to
   another shard, so each process has its own copy of a session's globals. What cannot travel runs here.
3. What functions there ask of the server is passed on, as asked by the execution's own job; an atomic block
   too, which waits its turn with those of this process.
4. A process that ends, or hangs, takes its legs with it: they end with an error, and the next leg starts
   another process. One too many, since there are to be fewer, ends when it has no leg.
5. All of it is the loop's thread's, but `read`, which is a pipeline's.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import cloudpickle  # type: ignore[import-untyped]

from keymiss.channel import Channel, Frame, number
from keymiss.errors import ChannelError, GearsError, KeymissError
from keymiss.functions import blobs, replies
from keymiss.functions.context import NOBODY, Context, current
from keymiss.functions.durations import Durations
from keymiss.functions.executions import Execution
from keymiss.functions.legs import Order, unpacked
from keymiss.functions.pool import Pool
from keymiss.functions.readers import Source
from keymiss.functions.runtime import script_globals
from keymiss.functions.sessions import Session
from keymiss.functions.steps import Emit, Pipeline, Plan, Waiting

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

WATCH_S = 1.0
START_S = 60.0
REAP_S = 5.0
DEFAULT_HANG_TIMEOUT_MS = 30_000
_SECTIONS = 4  # atomic blocks of other processes that wait at a time


class _Leg:
    """One leg that runs elsewhere. `context` is that of what it asks of the server."""

    def __init__(self, context: Context, order: bytes, stop: Callable[[_Leg], object]) -> None:
        self.context = context
        self.order = order
        self._stop = stop
        self.process: _Process | None = None
        self.number = 0
        self.ended = False
        self.overridden: bytes | None = None
        self.durations: list[float] = []
        self._came: deque[list[Any]] = deque()
        self._errors: list[str] = []
        self._arrival: asyncio.Future[None] | None = None

    async def next(self) -> tuple[list[Any], list[str] | None]:
        """The next records as they came, pickled; at the end the errors too."""
        while not self._came and not self.ended:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        if self._came:
            return self._came.popleft(), None
        return [], self._errors

    def cancel(self) -> None:
        """Every thread."""
        if not self.ended:
            self._stop(self)

    def take(self, records: list[Any]) -> None:
        self._came.append(records)
        self._wake()

    def end(self, errors: list[str]) -> None:
        if not self.ended:
            self.ended = True
            self._errors = errors
            self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


class Processes:
    """The processes of this worker. `read` is for pipelines."""

    def __init__(self, gears: Gears) -> None:
        self.gears = gears
        self._processes: list[_Process] = []
        self.sections = Pool(_SECTIONS)

    @property
    def wanted(self) -> int:
        """How many may be started; 0 where all is run in the worker."""
        processes = self.gears.shard.setting("functions-processes", 1)
        return processes if processes > 1 else 0

    @property
    def pids(self) -> list[int]:
        """Of those that run. Every thread."""
        return [process.pid for process in list(self._processes)]

    def read(self, execution: Execution, steps: Plan, source: Source, emit: Emit) -> Waiting:
        """One leg of an execution: every record of the source through the steps, to `emit`.

        In another process where there are any and the execution may run there, else here.
        """
        gears, context = self.gears, execution.context
        assert context is not None
        order = self._order(execution, context, steps, source) if execution.apart and self.wanted else None
        if order is None:
            pipeline = execution.pipeline(steps, emit, gears.config)
            yield from pipeline.read(source.records(gears.shard.execute))
            return
        job = context.job
        stop = partial(gears.shard.call_soon, self._stop)
        leg = _Leg(Context(job, session=context.session), order, stop)
        out = Pipeline((), emit, execution.errors)
        gears.shard.call_soon(self._give, leg)
        context.add_running(leg)
        errors: list[str] | None = None
        try:
            while errors is None:
                records, errors = yield leg.next()
                for record in records:
                    yield from out.feed(unpacked(record))
                if errors is None:
                    gears.shard.call_soon(self._tell_read, leg)
            execution.errors += errors
            if leg.durations:
                execution.durations = execution.durations or Durations()
                execution.durations.add_told(leg.durations, steps)
            if job is not None and job.overridden is None:
                job.overridden = leg.overridden
        finally:
            context.running.discard(leg)
            leg.cancel()

    def _order(self, execution: Execution, context: Context, steps: Plan, source: Source) -> bytes | None:
        """None where the functions cannot be sent."""
        session = context.session
        try:
            functions = blobs.dump(steps, script_globals(), session.globals)
        except GearsError:
            return None
        environment = blobs.environment_of(session.globals)
        return pickle.dumps(
            Order(
                session.name,
                functions,
                blobs.dump(source, script_globals(), session.globals),
                execution.of,
                None if environment is None else environment.folder,
                context.command,
                dict(self.gears.shard.config),
                self.gears.config.tracebacks,
                self.gears.config.profiles,
            )
        )

    # The loop's thread

    def _give(self, leg: _Leg) -> None:
        if leg.ended:
            return
        free = min(self._processes, key=lambda process: len(process.legs), default=None)
        if free is None or (free.legs and len(self._processes) < self.wanted):
            try:
                free = _Process(self)
            except OSError as error:
                leg.end([f"a functions process could not be started: {error}"])
                return
            self._processes.append(free)
        free.run(leg)

    def _tell_read(self, leg: _Leg) -> None:
        if not leg.ended and leg.process is not None:
            leg.process.send(b"READ", leg.number)

    def _stop(self, leg: _Leg) -> None:
        if not leg.ended and leg.process is not None:
            leg.process.stop(leg)
        leg.end([])

    def changed(self, setting: Frame) -> None:
        """SETTING."""
        for process in self._processes:
            process.send(*setting)
        self.end_spare()

    def end_spare(self) -> None:
        """End those that have nothing to do and are more than there are to be."""
        for process in [process for process in self._processes if not process.legs]:
            if len(self._processes) > self.wanted:
                process.end()

    def left(self, process: _Process) -> None:
        if process in self._processes:
            self._processes.remove(process)


class _Process:
    """One process, from its start to its end."""

    def __init__(self, processes: Processes) -> None:
        self.legs: dict[int, _Leg] = {}
        self._processes = processes
        self._shard = shard = processes.gears.shard
        self._numbers = count(1)
        self._started = monotonic()
        self._ready = False
        self._asked_at: float | None = None  # when the PING without an answer was sent
        self._why = "it ended"
        ours, theirs = socket.socketpair()
        with theirs, shard.limits.starting_own():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "keymiss.functions.process", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        handlers: dict[bytes, Callable[[Frame], None]] = {
            b"READY": self._on_ready,
            b"PONG": self._on_pong,
            b"LOG": lambda frame: shard.channel.send(*frame),
            b"STARTED": self._on_started,
            b"CALL": self._on_question,
            b"RUN": self._on_question,
            b"BEGIN": self._on_begin,
            b"END": self._on_section_end,
            b"ASK": self._on_ask,
            b"RECORDS": self._on_records,
            b"DONE": self._on_done,
        }
        self._channel = Channel(ours, shard.loop, handlers, lambda hello: None, self._on_end)
        self.send(*shard.hello.frame())
        shard.loop.call_later(WATCH_S, self._watch)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, *parts: bytes | str | int) -> None:
        """Every thread. Nothing happens where it has ended: its legs are told."""
        if not self._channel.closed:
            try:
                self._channel.send(*parts)
            except ChannelError:
                self._shard.call_soon(self._end, "it reads nothing")

    # Legs

    def run(self, leg: _Leg) -> None:
        leg.process, leg.number = self, next(self._numbers)
        self.legs[leg.number] = leg
        job = leg.context.job
        request = b"%d" % (0 if job is None else job.request)
        self.send(b"JOB", leg.number, b"COMMAND", 0, 0, request, b"LEG", leg.order)

    def stop(self, leg: _Leg) -> None:
        self.send(b"CANCEL", leg.number)
        self._remove(leg)

    def end(self) -> None:
        """It is not needed any more."""
        self._end("it was not needed any more")

    def _remove(self, leg: _Leg) -> None:
        self.legs.pop(leg.number, None)
        if leg.context.atomic:
            self._end_section(leg)
        self._processes.end_spare()

    def _on_records(self, frame: Frame) -> None:
        leg = self.legs.get(number(frame[1]))
        if leg is not None:
            leg.take(pickle.loads(frame[2]))

    def _on_done(self, frame: Frame) -> None:
        """DONE <id> +OK <errors> <overridden> <durations>, or an error in the place of +OK."""
        leg = self.legs.get(number(frame[1]))
        if leg is None:
            return
        self._remove(leg)
        if len(frame) < 6:
            leg.end([frame[2][1:].decode("utf-8", "replace").strip()])
            return
        leg.overridden = frame[4] or None
        leg.durations = pickle.loads(frame[5])
        leg.end(pickle.loads(frame[3]))

    # What functions ask of the server

    def _context(self, job: bytes) -> Context:
        leg = self.legs.get(number(job))
        return NOBODY if leg is None else leg.context

    def _on_question(self, frame: Frame) -> None:
        """CALL and RUN: <verb> <seq> <job> ..."""
        verb, sequence = frame[0], frame[1]

        def give(answer: Frame) -> None:
            if answer:
                self.send(answer[0], sequence, *answer[2:])

        try:
            self._shard.forward(self._context(frame[2]), verb, frame[3:], give)
        except KeymissError as error:
            refusal = replies.error(f"ERR {error}")
            if verb == b"CALL":
                self.send(b"RESULT", sequence, refusal)
            else:
                self.send(b"OUTPUTS", sequence, refusal, 0)

    def _on_begin(self, frame: Frame) -> None:
        """BEGIN <seq> <job>: it may have to wait for the blocks of others, so not on this thread."""
        context = self._context(frame[2])
        if context is NOBODY:
            context = Context()

        def begin() -> None:
            try:
                self._shard.begin()
                reply = replies.OK
            except KeymissError as error:
                reply = replies.error(str(error))
            self.send(b"RESULT", frame[1], reply)

        self._processes.sections.submit(begin, context)

    def _on_section_end(self, frame: Frame) -> None:
        """END <job>"""
        leg = self.legs.get(number(frame[1]))
        if leg is not None and leg.context.atomic:
            self._end_section(leg)

    def _end_section(self, leg: _Leg) -> None:
        token = current.set(leg.context)
        try:
            self._shard.end()
        except KeymissError as error:
            self._shard.log(str(error), "warning")
        finally:
            current.reset(token)

    def _on_ask(self, frame: Frame) -> None:
        """ASK <seq> <job> run|register <blob>: what the session of a function does."""
        _, sequence, job, what, blob = frame
        gears, caller = self._processes.gears, self._context(job).session

        def answer(value: Any) -> None:
            self.send(b"RESULT", sequence, replies.bulk(cloudpickle.dumps(value)))

        def ask() -> None:
            try:
                if caller is None:
                    raise GearsError("the execution that asks for this has ended")
                if what == b"register":
                    answer(caller.register(blobs.load(blob, script_globals(), caller.globals)))
                    return
                session = Session(gears, caller.name, requirements=caller.requirements)
                session.prepare()
                ended = session.run(blobs.load(blob, script_globals(), session.globals))
                gears.shard.call_soon(ended.add_done_callback, lambda future: answer(future.result()))
            except KeymissError as error:
                self.send(b"RESULT", sequence, replies.error(str(error)))

        gears.in_background(ask)

    # Its end

    def _on_started(self, frame: Frame) -> None:
        self._shard.limits.on_start()

    def _on_ready(self, frame: Frame) -> None:
        self._ready = True

    def _on_pong(self, frame: Frame) -> None:
        self._asked_at = None

    def _watch(self) -> None:
        """Ask for a sign of life while it has work."""
        if self._channel.closed:
            return
        hang_ms = self._shard.setting("hang-timeout-ms", DEFAULT_HANG_TIMEOUT_MS)
        if self._asked_at is not None and monotonic() - self._asked_at > hang_ms / 1000:
            self._end("it hung (keymiss.hang-timeout-ms)")
            return
        if not self._ready and monotonic() - self._started > START_S:
            self._end("it did not start in time")
            return
        if self._ready and self.legs and self._asked_at is None:
            self._asked_at = monotonic()
            self.send(b"PING")
        self._shard.loop.call_later(min(WATCH_S, hang_ms / 4000), self._watch)

    def _end(self, why: str) -> None:
        self._processes.left(self)  # the next leg goes to another one
        self._why = why
        self._channel.end(None)

    def _on_end(self, reason: Exception | None) -> None:
        self._processes.left(self)
        self._process.kill()
        if self.legs:
            self._shard.log(f"a functions process: {self._why}", "warning")
        for leg in list(self.legs.values()):
            self._remove(leg)
            leg.end([f"a functions process died while it ran this ({self._why})"])
        self._reap()

    def _reap(self) -> None:
        if self._process.poll() is None:
            self._shard.loop.call_later(REAP_S, self._reap)
