"""Registrations: functions that run when something happens, and what happens to them.

`fire` is the hot path. A miss whose function is one coroutine is started without an execution: its plan was
compiled when it was registered (`_coroutine_of`), its numbers are added up, and only a short note of it is
kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from inspect import iscoroutinefunction
from time import perf_counter
from typing import TYPE_CHECKING, Any

from keymiss.channel import NEVER
from keymiss.errors import KeymissError
from keymiss.functions import replies
from keymiss.functions.builder import to_str
from keymiss.functions.context import Context
from keymiss.functions.errors import flat_text
from keymiss.functions.executions import ABORTED, ABORTED_TEXT, DONE, RUNNING, Ended, Execution, result_reply
from keymiss.functions.hooks import CallNext, hook_reply
from keymiss.functions.job import EVENT, HOOKED, FunctionJob
from keymiss.functions.readers import RecordsSource, Source
from keymiss.functions.records import event_record
from keymiss.functions.registering import (
    CommandArguments,
    KeysArguments,
    Registering,
    StreamArguments,
    TriggerArguments,
)
from keymiss.functions.sessions import Session
from keymiss.functions.steps import Kind, Plan, local_steps
from keymiss.functions.streams import StreamConsumer
from keymiss.functions.tasks import answering

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

NOT_BLOCKING = (
    "ERR can not run a non-sync execution inside a MULTI/LUA (blocking is not allowed) or on loading."
)

OneRecord = Callable[[Any], Coroutine[Any, Any, Any]]


@dataclass(slots=True)
class Numbers:
    """What RG.DUMPREGISTRATIONS tells of a registration's runs. Durations in seconds. `all_ended` is what all
    of them, and executions, add to."""

    all_ended: Ended
    triggered: int = 0
    succeeded: int = 0
    failed: int = 0
    aborted: int = 0
    last_s: float = 0.0
    total_s: float = 0.0
    last_error: str | None = None

    def add(self, status: str, error: str | None, duration_s: float) -> None:
        """A run has ended, with its last error where it had one."""
        self.last_s = duration_s
        self.total_s += duration_s
        if status == ABORTED:
            self.aborted += 1
            self.all_ended.aborted += 1
        elif error is None:
            self.succeeded += 1
            self.all_ended.done += 1
        else:
            self.failed += 1
            self.all_ended.failed += 1
        self.last_error = error

    def shown(self) -> list[Any]:
        runs = self.succeeded + self.failed + self.aborted
        return [
            *("numTriggered", self.triggered, "numSuccess", self.succeeded),
            *("numFailures", self.failed, "numAborted", self.aborted),
            *("lastRunDurationMS", int(self.last_s * 1000), "totalRunDurationMS", int(self.total_s * 1000)),
            *("avgRunDurationMS", f"{self.total_s * 1000 / runs:g}" if runs else "0"),
        ]


class Registration:
    """One registration on this shard."""

    def __init__(
        self, gears: Gears, name: str, session: Session, registering: Registering, blob: bytes
    ) -> None:
        self._gears = gears
        self.id = name
        self.session = session
        self.blob = blob  # what the server keeps of it
        self.reader = registering.reader
        self.plan = registering.plan
        self.mode = registering.mode
        self.arguments = registering.arguments
        self.on_registered = registering.on_registered
        self.desc = registering.desc
        self.numbers = Numbers(gears.executions.ended)
        self.paused = False
        self.last: deque[Execution | _Note] = deque()
        self._read_value = not isinstance(self.arguments, KeysArguments) or self.arguments.read_value
        self._parallel = registering.parallel
        may_be_quick = self.mode != "sync" and self.reader == "KeysReader" and not self._parallel
        self._coroutine = _coroutine_of(self.plan) if may_be_quick else None
        self._running: dict[Context, Execution | _Note] = {}
        self.stream: StreamConsumer | None = None
        if isinstance(self.arguments, StreamArguments):
            self.stream = StreamConsumer(gears, self, self.arguments)
        # Of an in-order trigger: the run there is, and those that wait for it.
        self._queue: deque[tuple[FunctionJob, Callable[[], None]]] | None = None
        if isinstance(self.arguments, CommandArguments) and self.arguments.in_order:
            self._queue = deque()

    # Keys

    def fire(self, job: FunctionJob) -> None:
        """MISS, EVENT or HOOKED."""
        if job.kind == HOOKED:
            name = job.argv[0].decode("utf-8", "replace")
            below = self._gears.registrations.before(self)
            self._run_command(job, job.argv, CallNext(self._gears, job, below, name))
            return
        if self.stream is not None:
            self.stream.fire(job)
            return
        record = event_record(job.event, job.key, job.type, job.value, self._read_value)
        self.numbers.triggered += 1
        # Nobody waits for an EVENT: there is no reply to override.
        command = None if job.kind == EVENT else job.argv
        context = Context(job, session=self.session, command=command, async_allowed=True)
        if self._coroutine is not None and not job.sync and self._start_coroutine(job, context, record):
            return
        source = RecordsSource((record,))
        execution = self._start(context, source, lambda execution: self._fired(job, execution))
        if job.sync and job.kind == EVENT:
            # A coroutine that it has become goes on in the background, as long as the job could.
            job.done(b"")
            self._gears.executions.stop_at(job.deadline, execution)

    def _start_coroutine(self, job: FunctionJob, context: Context, record: Any) -> bool:
        """The fast path. False, and nothing done, where the function takes other arguments than a record."""
        assert self._coroutine is not None
        try:
            coroutine = self._coroutine(record)
        except TypeError:
            self._coroutine = None
            return False
        started = perf_counter()
        self._running[context] = _Note(self, self._gears.executions.next_number())
        self._gears.shard.spawn(
            answering(job, coroutine), context, lambda task: self._miss_ended(job, context, started, task)
        )
        return True

    def _miss_ended(
        self, job: FunctionJob, context: Context, started: float, task: asyncio.Task[Any]
    ) -> None:
        note = self._running.pop(context)
        assert isinstance(note, _Note)
        job.done(job.overridden or b"")  # of one that was cancelled before it began
        if task.cancelled():
            note.end(ABORTED, None, ABORTED_TEXT)
        else:
            error = task.exception()
            text = None if error is None else flat_text(error)
            result = task.result() if error is None else None
            note.end(DONE, result, text)
        self.numbers.add(note.status, note.error, perf_counter() - started)
        if note.error is not None:
            self._log_failure(note.error, job)
        self._note(note)

    def _fired(self, job: FunctionJob, execution: Execution) -> None:
        self._ended(execution)
        self._note(execution)
        if execution.stopped:
            job.fail(f"ERR {execution.errors[-1]}")
        job.done(job.overridden or b"")

    # Commands

    def trigger(self, job: FunctionJob, argv: list[bytes]) -> None:
        """RG.TRIGGER: argv is the trigger's name and its arguments."""
        self._run_command(job, argv, None)

    def _run_command(self, job: FunctionJob, argv: list[bytes], hook: CallNext | None) -> None:
        if self.mode != "sync" and (job.in_multi or job.sync):
            job.done(replies.error(NOT_BLOCKING))
            return
        if self._queue is not None and not job.sync:
            self._queue.append((job, lambda: self._start_command(job, argv, hook)))
            if len(self._queue) == 1:
                self._queue[0][1]()
            return
        self._start_command(job, argv, hook)

    def _start_command(self, job: FunctionJob, argv: list[bytes], hook: CallNext | None) -> None:
        self.numbers.triggered += 1
        context = Context(
            job, session=self.session, call_next=hook, async_allowed=not (job.sync or job.in_multi)
        )
        record = [replies.text(argument) for argument in argv]
        self._start(context, RecordsSource((record,)), lambda run: self._commanded(job, run, hook))

    def _commanded(self, job: FunctionJob, execution: Execution, hook: CallNext | None) -> None:
        try:
            if hook is not None or execution.errors:
                reply = hook_reply(execution)
            else:
                reply = replies.array([result_reply(result) for result in execution.results])
        finally:  # also where the reply does not fit into the memory
            self._ended(execution)
            if self._queue is not None and not job.sync:
                self._gears.shard.call_soon(self._next_in_order)
        job.done(reply)

    def _next_in_order(self) -> None:
        assert self._queue is not None
        self._queue.popleft()
        while self._queue and self._queue[0][0].finished:  # its client gave up before its turn
            self._queue.popleft()
        if self._queue:
            self._queue[0][1]()

    # Streams

    def run_records(self, source: Source, context: Context, then: Callable[[Execution], object]) -> None:
        """Run it on records that were read for it. `then` follows when its numbers are added up."""
        self.numbers.triggered += 1

        def ended(execution: Execution) -> None:
            self._ended(execution)
            self._note(execution)
            then(execution)

        execution = self._start(context, source, ended)
        if self.mode == "sync":  # what it awaits is no job's
            self._gears.executions.stop_at(NEVER, execution)

    # All

    def _start(self, context: Context, source: Source, then: Callable[[Execution], object]) -> Execution:
        executions = self._gears.executions
        execution = Execution(
            executions.next_id(),
            self.plan,
            registered=True,
            apart=self._parallel,
            of=self.id,
            context=context,
            waiters=[then],
        )
        context.execution = execution
        context.alone = self.mode == "sync" and not (context.job is not None and context.job.sync)
        self._running[context] = execution
        self._gears.shard.on_loop(context.add_running, execution)
        try:
            if self.mode == "async" and self._gears.spread.needed(self):
                self._gears.spread.start(execution, source, everywhere=self.reader == "CommandReader")
            elif self.mode == "sync":
                executions.run_at_once(execution, source)
            else:
                executions.run_here(execution, source)
        except KeymissError as error:  # too much waits for a thread already
            execution.errors.append(str(error))
            execution.end(DONE)
        return execution

    def _ended(self, execution: Execution) -> None:
        error = execution.errors[-1] if execution.errors else None
        if execution.context is not None:
            self._running.pop(execution.context, None)
        self._gears.spread.drop(execution.id)
        self.numbers.add(execution.status, error, execution.duration_s)
        if error is not None:
            self._log_failure(error, execution.context.job if execution.context is not None else None)

    def _log_failure(self, error: str, job: FunctionJob | None) -> None:
        """Many may fail: some are told, RG.DUMPREGISTRATIONS counts all."""
        left_out = self._gears.failures_told.take()
        if left_out is not None:
            fields: dict[str, str | int] = {"registration": self.id}
            if left_out:
                fields["left_out"] = left_out
            message = f"a run of {self.desc or self.id} failed: {' '.join(error.split())}"
            self._gears.shard.log(message, event="function-failed", fields=fields, job=job)

    def _note(self, run: Execution | _Note) -> None:
        last = self.last
        last.append(run)
        while len(last) > self._gears.config.max_executions_per_registration:
            last.popleft()

    @property
    def running(self) -> int:
        """How many of its runs have not ended."""
        return len(self._running)

    def executions(self) -> Iterator[Execution]:
        """The last that have ended, and those that run."""
        for run in list(self.last):
            yield run if isinstance(run, Execution) else run.execution()
        for context, run in list(self._running.items()):
            yield run if isinstance(run, Execution) else run.execution(context)

    def cancel_running(self) -> None:
        """Stop the runs that have not ended."""
        for context in list(self._running):
            self._gears.shard.call_soon(context.cancel)

    def shown(self) -> list[Any]:
        """The registration as RG.DUMPREGISTRATIONS shows it, without its session."""
        data = ["mode", self.mode, *self.numbers.shown()]
        if self.stream is not None:
            data += self.stream.lags()
        data += ["lastError", self.numbers.last_error, "args", self.arguments.shown()]
        if self.stream is not None:
            data += ["status", self.stream.status]
        return ["id", self.id, "reader", self.reader, "desc", self.desc, "RegistrationData", data]


class Registrations:
    """The registrations of this shard, by id."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._by_id: dict[str, Registration] = {}
        self._when_restored: deque[Callable[[], object]] = deque()
        self._early: dict[str, deque[FunctionJob]] = {}  # of registrations that are being restored
        self._awaited: set[str] = set()  # those of them that everything else waits for

    def __iter__(self) -> Iterator[Registration]:
        return iter(list(self._by_id.values()))

    def get(self, name: str) -> Registration | None:
        return self._by_id.get(name)

    def add(self, registration: Registration) -> None:
        """From now on jobs of this id go to this registration: at no moment to none, where one had it."""
        old = self._by_id.get(registration.id)
        self._by_id[registration.id] = registration
        registration.session.registrations[registration.id] = registration
        self._gears.sessions.keep(registration.session)
        if old is not None:
            self._leave(old)

    def remove(self, name: str) -> Registration | None:
        registration = self._by_id.pop(name, None)
        if registration is not None:
            self._leave(registration)
        return registration

    def _leave(self, registration: Registration) -> None:
        """It gets no more jobs."""
        if registration.stream is not None:
            registration.stream.stop(replaced=registration.id in self._by_id)
        session = registration.session
        if session.registrations.get(registration.id) is registration:
            del session.registrations[registration.id]
        self._gears.sessions.release(registration)

    def with_trigger(self, trigger: str) -> Registration | None:
        for registration in self:
            arguments = registration.arguments
            if isinstance(arguments, TriggerArguments) and arguments.trigger == trigger:
                return registration
        return None

    def reader_of(self, key: bytes) -> StreamConsumer | None:
        """Of the registrations that read this stream, the one that came last."""
        for registration in reversed(list(self._by_id.values())):
            if registration.stream is not None and registration.stream.matches(key):
                return registration.stream
        return None

    def before(self, registration: Registration) -> list[Registration]:
        """Those that came before it, or before what has just taken its place."""
        there = self._by_id.copy()  # other threads may change it
        at = list(there).index(registration.id) if registration.id in there else len(there)
        return list(there.values())[:at]

    def fire(self, job: FunctionJob) -> None:
        """Give a job to its registration. One that is gone meanwhile leaves the command's own reply."""
        registration = self._by_id.get(job.registration)
        if registration is not None:
            registration.fire(job)
        elif job.registration in self._early:
            self._early[job.registration].append(job)
        elif job.kind == HOOKED:
            job.fail("ERR the function that took over this command is gone")
        else:
            job.done(b"")

    @property
    def restoring(self) -> bool:
        """Some registrations that the server has are not here yet, and soon will be."""
        return bool(self._awaited)

    def when_restored(self, function: Callable[[], object]) -> None:
        """Call it on the loop's thread when nothing is `restoring` any more."""
        self._when_restored.append(function)

    def expect(self, name: str) -> None:
        """Keep the jobs of this id until `arrived`."""
        self._early.setdefault(name, deque())
        self._awaited.add(name)

    def arrived(self, name: str) -> None:
        """The registration is there, or will not come: give it the jobs that were kept."""
        for job in self._early.pop(name, ()):
            if not job.finished:
                self.fire(job)
        self.wait_no_more(name)

    def wait_no_more(self, name: str) -> None:
        """Only its own jobs wait for it from now on."""
        self._awaited.discard(name)
        while self._when_restored and not self._awaited:
            self._when_restored.popleft()()

    # Executions of registrations

    def executions(self) -> Iterator[Execution]:
        for registration in self:
            yield from registration.executions()

    def execution(self, name: str) -> Execution | None:
        return next((execution for execution in self.executions() if execution.id == name), None)

    def drop_execution(self, name: str) -> None:
        for registration in self:
            for run in list(registration.last):
                if run.id == name:
                    registration.last.remove(run)


@dataclass(eq=False, slots=True)
class _Note:
    """What is kept of a coroutine's run: enough to make an execution of it where one is asked for."""

    registration: Registration
    number: int
    status: str = RUNNING
    result: Any = None
    error: str | None = None
    asked: Execution | None = None  # the one that was made while it ran: somebody may wait for its end

    @property
    def id(self) -> str:
        return f"{self.registration._gears.shard.node}-{self.number}"

    def end(self, status: str, result: Any, error: str | None) -> None:
        self.status, self.result, self.error = status, result, error
        if self.asked is not None and self.asked.running:
            self._tell(self.asked)
            self.asked.end(status)
        self.asked = None

    def execution(self, context: Context | None = None) -> Execution:
        """`context` is that of one that runs."""
        if self.asked is not None:
            return self.asked
        plan = self.registration.plan
        execution = Execution(self.id, plan, registered=True, status=self.status, context=context)
        if self.status == RUNNING:
            self.asked = execution
        else:
            self._tell(execution)
        return execution

    def _tell(self, execution: Execution) -> None:
        if self.error is not None:
            execution.errors.append(self.error)
        else:
            execution.results.append(self.result)


_ONE_RECORD = (Kind.MAP, Kind.FOREACH, Kind.FILTER, Kind.FLATMAP)


def _coroutine_of(plan: Plan) -> OneRecord | None:
    """The one coroutine function that the plan of an event consists of.

    What `register` adds behind it is left out: nobody sees the results of an event, and its one record is on
    this shard already.
    """
    steps = [step for step in local_steps(plan) if step.function is not to_str]
    if len(steps) == 1 and steps[0].kind in _ONE_RECORD and iscoroutinefunction(steps[0].function):
        function: OneRecord = steps[0].function
        return function
    return None
