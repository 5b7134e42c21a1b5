"""Drives a pipeline to its end: plain steps in the pool, what they return to be awaited on the loop.

A thread is held only while a plain function runs: a thousand suspended coroutines hold none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from keymiss.functions.context import Context
from keymiss.functions.errors import Aborted
from keymiss.functions.profiles import profiled
from keymiss.functions.shard import Shard
from keymiss.functions.steps import NotAwaitable, Waiting

Then = Callable[[BaseException | None], None]


def run_inline(work: Waiting) -> None:
    """Run it here and now. What would have to be awaited is an error of the step that returned it."""
    try:
        with profiled():
            work.send(None)
            while True:
                work.throw(NotAwaitable("Creating async record is not allowed"))
    except StopIteration:
        return


class Drive:
    """One run of `work` for `context`.

    `then(error)` is called once, in the thread that ran the last step: None at the end, Aborted where the
    context was cancelled meanwhile. Work that is cancelled before it has a thread is dropped without a call:
    who cancels knows.
    """

    __slots__ = ("_context", "_shard", "_then", "_work")

    def __init__(self, shard: Shard, work: Waiting, context: Context, then: Then) -> None:
        self._shard = shard
        self._work = work
        self._context = context
        self._then = then

    def start(self) -> None:
        """Begin in the pool. BusyError where too much waits for it."""
        self._shard.in_pool(self._first, self._context)

    def start_here(self) -> None:
        """Begin in this thread, whose current context is that of this run."""
        self._first()

    def _first(self) -> None:
        self._step(None, None)

    def _step(self, value: Any, error: BaseException | None) -> None:
        try:
            with profiled():
                waiting = self._work.send(value) if error is None else self._work.throw(error)
        except StopIteration:
            self._then(None)
        except BaseException as failure:
            self._then(failure)
        else:
            self._shard.call_soon(self._wait, waiting)

    def _wait(self, waiting: Awaitable[Any]) -> None:
        coroutine = waiting if asyncio.iscoroutine(waiting) else _awaited(waiting)
        self._shard.spawn(coroutine, self._context, self._go_on)

    def _go_on(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            error: BaseException | None = Aborted() if self._context.cancelled else asyncio.CancelledError()
        else:
            error = task.exception()
        value = None if error is not None else task.result()
        try:
            self._shard.in_pool(lambda: self._step(value, error), self._context)
        except Exception as busy:
            self._work.close()
            self._then(busy)


async def _awaited(waiting: Awaitable[Any]) -> Any:
    return await waiting
