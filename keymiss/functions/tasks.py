"""Coroutines of users as tasks of the loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context as Variables
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from keymiss.errors import GearsError
from keymiss.functions.context import Context, current
from keymiss.functions.errors import Aborted

if TYPE_CHECKING:
    from keymiss.functions.job import FunctionJob

T = TypeVar("T")


async def guarded(coroutine: Coroutine[Any, Any, T]) -> T:
    """A task that raises one of these would take the loop down with it."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as end:
        raise GearsError(f"a function cannot end its process: {end!r}") from None


async def answering(job: FunctionJob, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Answer the job where the coroutine ends: what is called when a task is done is so a turn later."""
    try:
        result = await coroutine
    except Aborted as stopped:  # by its own limit: its caller is told, unlike of other errors
        job.fail(f"ERR {stopped}")
        raise
    except BaseException:
        job.done(job.overridden or b"")
        raise
    job.done(job.overridden or b"")
    return result


def start_now(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], context: Context
) -> asyncio.Task[T]:
    """A task whose first step has been run.

    Saves a turn of the loop, which is most of what a trivial miss costs.
    """
    token = current.set(context)
    try:
        if sys.version_info >= (3, 12):
            return asyncio.Task(coroutine, loop=loop, eager_start=True, context=copy_context())
        task = asyncio.Task(coroutine, loop=loop)
        if asyncio.current_task(loop) is None:  # a task cannot be entered from within another
            first_step = loop._ready.pop()  # type: ignore[attr-defined]  # what making the task has just put there
            first_step._run()
        return task
    finally:
        current.reset(token)


class PromptFuture(asyncio.Future[T]):
    """A future that can run at once whoever waits for it, not in the loop's next turn: a coroutine on a miss
    is woken twice, and a turn takes as long as what it does then. The loop's thread only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._waiters: list[tuple[Callable[[PromptFuture[T]], object], Variables | None]] = []

    def add_done_callback(
        self, fn: Callable[[PromptFuture[T]], object], /, *, context: Variables | None = None
    ) -> None:
        if self.done():
            super().add_done_callback(fn, context=context)
        else:
            self._waiters.append((fn, context))

    def remove_done_callback(self, fn: Callable[[PromptFuture[T]], object], /) -> int:
        left = [waiter for waiter in self._waiters if waiter[0] != fn]
        removed = len(self._waiters) - len(left)
        self._waiters = left
        return removed + super().remove_done_callback(fn)

    def cancel(self, msg: Any = None) -> bool:
        cancelled = super().cancel(msg)
        self._wake()
        return cancelled

    def settle(self, result: T, now: bool) -> None:
        """Set the result, unless there is one; `now`: this is between two tasks, whoever waits may run."""
        if self.done():
            return
        self.set_result(result)
        if not now or asyncio.current_task(self.get_loop()) is not None:
            self._wake()
            return
        waiters, self._waiters = self._waiters, []
        for fn, context in waiters:
            if context is None:
                fn(self)
            else:
                context.run(fn, self)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for fn, context in waiters:
            self.get_loop().call_soon(fn, self, context=context)
