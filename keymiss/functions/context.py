"""Who calls: the context in which a function runs, for the names that scripts use without saying for whom.

A context belongs to one execution (or to one script that RG.PYEXECUTE runs). It is carried by a
ContextVar: `Shard.spawn` and `Shard.in_pool` set it for what they run, tasks that a coroutine
starts inherit it. A thread that a function starts itself has none; commands it executes belong to
no job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from keymiss.errors import GearsError

if TYPE_CHECKING:
    from keymiss.functions.job import FunctionJob
    from keymiss.functions.shard import Shard


class Cancellable(Protocol):
    def cancel(self) -> object: ...


class Context:
    """`job`: for whom commands are run; None, or ended, where nobody waits (they run in database 0 then).

    `execution` and `session`: what runs, and the script or session that it is of; opaque here.
    `command`: the client's command, for `get_command`; None where `override_reply` has nothing to override.
    `call_next`: given the arguments of `call_next(...)`, runs what the hook replaced; None outside of a hook.
    `async_allowed`: a step may answer by a coroutine or a gearsFuture.
    `alone`: the server is to serve nobody else from the first command until the run ends or awaits: mode
    'sync', where it does not wait for the job anyway.
    `atomic`: inside `with atomic()`.
    `future`: the gearsFuture made by the step that runs; whoever runs steps sets it to None before each.
    `outer`: of what runs inside of another run, in its atomic sections: call_next.
    `running`: what `cancel` stops: suspended tasks and functions in the pool.
    """

    __slots__ = (
        "_outer",
        "_whole",
        "alone",
        "async_allowed",
        "atomic",
        "call_next",
        "cancelled",
        "command",
        "execution",
        "future",
        "job",
        "running",
        "session",
    )

    def __init__(
        self,
        job: FunctionJob | None = None,
        *,
        execution: Any = None,
        session: Any = None,
        command: list[bytes] | None = None,
        call_next: Callable[..., Any] | None = None,
        async_allowed: bool = False,
        outer: Context | None = None,
    ) -> None:
        self.job = job
        self.execution = execution
        self.session = session
        self.command = command
        self.call_next = call_next
        self.async_allowed = async_allowed
        self.alone = False
        self.atomic = False
        self.future: Any = None
        self.running: set[Cancellable] = set()
        self.cancelled = False
        self._outer = outer
        self._whole: Context | None = None  # the one that this is beside

    @property
    def holder(self) -> Context:
        """Whose the atomic sections are in which this runs: its own, or those of what it runs inside of."""
        return self if self._outer is None else self._outer.holder

    def beside(self) -> Context:
        """Another one of the same execution, for what runs at the same time as others of it. It ends with
        this one.
        """
        context = Context(
            self.job,
            execution=self.execution,
            session=self.session,
            command=self.command,
            call_next=self.call_next,
            async_allowed=self.async_allowed,
        )
        context._whole = self._whole or self
        self.add_running(context)
        return context

    def add_running(self, running: Cancellable) -> None:
        """`cancel`, the job's deadline and its CANCEL stop this too, until it is discarded from `running`."""
        self.running.add(running)
        if self.job is not None:
            self.job.on_cancel = (self._whole or self).cancel
        if self.cancelled:
            running.cancel()

    def cancel(self) -> None:
        """Stop what runs for this context: coroutines are cancelled, functions in the pool interrupted."""
        self.cancelled = True
        for running in list(self.running):
            running.cancel()

    def background(self) -> Context:
        """For what is started here and not waited for: nobody's job, since this one may end before."""
        session = None if self.session is None else self.session.background
        return Context(session=session, async_allowed=True)


NOBODY = Context()
# Numbers of commands that fired several functions, of which one has overridden the reply.
_overridden: deque[int] = deque(maxlen=1024)
_shard: Shard | None = None
current: ContextVar[Context] = ContextVar("keymiss_context", default=NOBODY)


def shard() -> Shard:
    """The shard of this process."""
    assert _shard is not None, "the worker has not started"
    return _shard


def set_shard(shard: Shard) -> None:
    """The worker says so, once, before anything else runs."""
    global _shard
    _shard = shard


def override_reply(value: bytes) -> None:
    """Answer the command that fired this execution by `value` (RESP2) instead of its own reply.

    GearsError where there is none that waits for its reply, or it has been answered so already.
    """
    context = current.get()
    job = context.job
    if context.command is None or job is None or job.finished:
        raise GearsError("Can not get command ctx")
    if job.overridden is not None or job.command in _overridden:
        raise GearsError("Can only override reply once")
    job.overridden = value
    if job.command:
        _overridden.append(job.command)


def command() -> list[bytes]:
    """The client's command that fired this execution, its name first. GearsError where there is none."""
    argv = current.get().command
    if argv is None:
        raise GearsError("Can not get command ctx")
    return argv


def database() -> int:
    """The number of the database in which this function's commands are run."""
    job = current.get().job
    return 0 if job is None or job.finished else job.database


def call_next(*args: Any) -> Any:
    """Run the command that this hook replaced, with other arguments. GearsError outside of a hook."""
    run = current.get().call_next
    if run is None:
        raise GearsError("Can not get CommandHook ctx")
    return run(*args)
