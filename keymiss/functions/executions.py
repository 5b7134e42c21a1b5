"""Executions: runs of a plan, from their start to their results, and what is kept of them.

An execution belongs to the shard where it was started. Where its plan needs other shards (mode 'async' in a
cluster) `spread.py` takes it there; everything else runs here, as one pipeline, since shuffles then move
nothing.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from keymiss.channel import NEVER, deadline_after_ms, remaining_s
from keymiss.functions import replies
from keymiss.functions.context import Context, current
from keymiss.functions.drive import Drive, run_inline
from keymiss.functions.durations import Durations, pipeline
from keymiss.functions.errors import Aborted, error_text
from keymiss.functions.plans import shown_plan
from keymiss.functions.readers import Source
from keymiss.functions.steps import Emit, Pipeline, Plan, local_steps

if TYPE_CHECKING:
    from keymiss.functions.config import Config
    from keymiss.functions.gears import Gears

Waiter = Callable[["Execution"], object]

RUNNING, DONE, ABORTED = "running", "done", "aborted"
ABORTED_TEXT = "execution was aborted"
TIMED_OUT_TEXT = ABORTED_TEXT + ": it took longer than it may (keymiss.{})"
DEFAULT_EXECUTION_TIMEOUT_MS = 3_600_000


@dataclass(slots=True)
class Ended:
    """How many executions have ended, and runs of registrations, by how. Whoever ends one adds it."""

    done: int = 0
    failed: int = 0
    aborted: int = 0


@dataclass(eq=False, slots=True)
class Execution:
    """One execution. `finished` of its waiters are called once, in the thread that ended it."""

    id: str
    plan: Plan
    registered: bool = False
    apart: bool = True  # it may run in a process beside the worker
    of: str = ""  # the registration that it is a run of
    status: str = RUNNING
    results: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    started: float = field(default_factory=monotonic)
    duration_s: float = 0.0
    durations: Durations | None = None  # while ProfileExecutions is set
    context: Context | None = None
    shards_received: int = 0
    shards_completed: int = 0
    waiters: list[Waiter] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.status == RUNNING

    @property
    def stopped(self) -> bool:
        """By a limit, not by somebody."""
        return self.status == ABORTED and self.errors[-1] != ABORTED_TEXT

    def end(self, status: str) -> None:
        """The first end counts."""
        if self.running:
            self.duration_s = monotonic() - self.started
            self.status = status
            waiters, self.waiters = self.waiters, []
            for waiter in waiters:
                self._call(waiter)

    def _call(self, waiter: Waiter) -> None:
        """Where a waiter fails (its reply does not fit into the memory) whoever waits is told."""
        try:
            waiter(self)
        except Exception as error:
            traceback.print_exc()
            if self.context is not None and self.context.job is not None:
                self.context.job.fail(f"ERR {type(error).__name__}: {error}")

    def when_done(self, waiter: Waiter) -> None:
        """Call `waiter(self)` at the end: now where it has ended. The loop's thread, or before the start."""
        self.waiters.append(waiter)
        if not self.running and waiter in self.waiters:
            self.waiters.remove(waiter)
            waiter(self)

    def pipeline(self, steps: Plan, emit: Emit, config: Config) -> Pipeline:
        """What passes its records through some of its steps."""
        if config.profiles and self.durations is None:
            self.durations = Durations()
        return pipeline(steps, emit, self.errors, config.tracebacks, self.durations)

    def cancel(self, why: str = ABORTED_TEXT) -> None:
        """Stop it where it is; its results so far are kept."""
        if self.running:
            self.errors.append(why)
            self.end(ABORTED)
            if self.context is not None:
                self.context.cancel()

    def reply(self) -> bytes:
        """[results, errors] as RESP2."""
        errors = replies.array([replies.bulk(text.encode("utf-8", "replace")) for text in self.errors])
        return replies.array([replies.array(list(map(result_reply, self.results))), errors])

    def shown(self, node: str) -> list[Any]:
        """The execution on the shard `node`, as RG.GETEXECUTION shows it."""
        plan = [
            *("status", self.status),
            *("shards_received", self.shards_received, "shards_completed", self.shards_completed),
            *("results", -1 if self.running else len(self.results), "errors", list(self.errors)),
            *("total_duration", int(self.duration_s * 1000)),
            *("read_duration", int(self.durations.read_s * 1000) if self.durations is not None else 0),
            *("steps", shown_plan(self.plan, self.durations)),
        ]
        return ["shard_id", node, "execution_plan", plan]


def result_reply(result: Any) -> bytes:
    """One result as RESP2; what cannot be said in it is an error in its place."""
    try:
        return replies.to_resp(result)
    except Exception as error:
        return replies.error(f"ERR {error}")


class Executions:
    """The executions of this shard. Finished ones are kept in the order they ended, up to MaxExecutions.

    For every thread: an execution ends in the thread that ran its last step.
    """

    def __init__(self, gears: Gears) -> None:
        self.ended = Ended()
        self._gears = gears
        # From the clock, which runs faster than numbers are given: what an earlier worker began may still run
        # on other shards, and be asked for here.
        self._last_number = time.time_ns() // 1000
        self._numbering = threading.Lock()
        self._running: dict[str, Execution] = {}
        self._ended: OrderedDict[str, Execution] = OrderedDict()

    def next_id(self) -> str:
        """An id no other execution or registration has or, unless the clock was set back, had: the shard's,
        and a number."""
        return f"{self._gears.shard.node}-{self.next_number()}"

    def next_number(self) -> int:
        with self._numbering:
            self._last_number += 1
            return self._last_number

    @property
    def running(self) -> int:
        """How many have not ended, without those of registrations."""
        return len(self._running)

    def skip_to(self, number: int) -> None:
        """Ids up to `number` are taken by registrations that were here before this worker."""
        with self._numbering:
            self._last_number = max(self._last_number, number)

    def get(self, execution_id: str) -> Execution | None:
        """An execution that is kept; those of registrations are looked for where they are kept."""
        return (
            self._running.get(execution_id)
            or self._ended.get(execution_id)
            or self._gears.registrations.execution(execution_id)
        )

    def __iter__(self) -> Iterator[Execution]:
        yield from list(self._ended.values())
        yield from list(self._running.values())
        yield from self._gears.registrations.executions()

    def _keep(self, execution: Execution) -> None:
        """From its start; its end is noted before anybody is told of it."""
        self._running[execution.id] = execution
        execution.waiters.insert(0, self._note_end)

    def _note_end(self, execution: Execution) -> None:
        if execution.status == ABORTED:
            self.ended.aborted += 1
        elif execution.errors:
            self.ended.failed += 1
        else:
            self.ended.done += 1
        self._ended[execution.id] = execution
        self._running.pop(execution.id, None)
        while len(self._ended) > max(1, self._gears.config.max_executions):
            with suppress(KeyError):  # another thread was first
                self._ended.popitem(last=False)

    def drop(self, execution: Execution) -> None:
        """Forget an execution, stopping it first where it runs."""
        execution.cancel()
        self._gears.spread.drop(execution.id)
        if self._ended.pop(execution.id, None) is None:
            self._gears.registrations.drop_execution(execution.id)

    def start(
        self,
        plan: Plan,
        source: Source,
        mode: str,
        context: Context,
        then: Waiter | None = None,
        keep: bool = True,
    ) -> Execution:
        """Start an execution of a plan; `then` is its first waiter. BusyError where too much is waiting
        already.
        """
        execution = Execution(self.next_id(), plan, context=context, waiters=[then] if then else [])
        context.execution = execution
        self._gears.shard.on_loop(context.add_running, execution)
        if keep:
            self._keep(execution)
        if mode == "async" and self._gears.shard.is_cluster:
            self._limit(execution)
            self._gears.spread.start(execution, source)
        else:
            self.run_here(execution, source)
        return execution

    def _limit(self, execution: Execution) -> None:
        """Stop an execution that no job's deadline stops when keymiss.execution-timeout-ms is over."""
        assert execution.context is not None
        job = execution.context.job
        if job is None or job.deadline == NEVER:
            self.stop_at(NEVER, execution)

    def stop_at(self, deadline: float, execution: Execution) -> None:
        """Stop it if it still runs then; where that is NEVER, when keymiss.execution-timeout-ms is over."""
        shard, setting = self._gears.shard, "job-timeout-ms"
        if deadline == NEVER:
            setting = "execution-timeout-ms"
            deadline = deadline_after_ms(shard.setting(setting, DEFAULT_EXECUTION_TIMEOUT_MS))
        left_s, why = remaining_s(deadline), TIMED_OUT_TEXT.format(setting)

        def start() -> None:
            timer = shard.loop.call_later(left_s or 0.0, execution.cancel, why)
            execution.when_done(lambda _: shard.call_soon(timer.cancel))

        if execution.running:
            shard.call_soon(start)

    def run_here(self, execution: Execution, source: Source) -> None:
        """Run the whole plan on this shard, in the pool."""
        context = execution.context
        assert context is not None
        steps = local_steps(execution.plan)
        work = self._gears.processes.read(execution, steps, source, execution.results.append)
        self._limit(execution)
        Drive(self._gears.shard, work, context, partial(self._end, execution, context)).start()

    def run_at_once(self, execution: Execution, source: Source) -> None:
        """As `run_here`, in this thread: whole or, where it may go on in the background, up to an await."""
        context, shard = execution.context, self._gears.shard
        assert context is not None
        steps = local_steps(execution.plan)
        own = execution.pipeline(steps, execution.results.append, self._gears.config)
        work = own.read(source.records(shard.execute))
        ended = partial(self._end, execution, context)
        token = current.set(context)
        try:
            if context.async_allowed and (context.job is None or context.job.may_await):
                Drive(shard, work, context, ended).start_here()
            else:
                run_inline(work)
                ended(None)
        except Aborted as aborted:
            ended(aborted)
        finally:
            shard.end_alone(context)
            current.reset(token)

    def _end(self, execution: Execution, context: Context, error: BaseException | None) -> None:
        if isinstance(error, Aborted):
            execution.cancel(str(error) or ABORTED_TEXT)
        elif error is not None:
            execution.errors.append(error_text(error))
        self._gears.shard.end_alone(context)
        execution.end(DONE)
