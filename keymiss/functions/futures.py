"""What functions use to answer later, from a thread or a coroutine of their own.

A step may return a `GearsFuture`: the execution goes on with what `continueRun` gives it.
`createFuture` makes a plain future of the loop to await in coroutines. All of these are for every
thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from keymiss.errors import GearsError
from keymiss.functions import context


class GearsFuture:
    """The result of a step that is not there yet. Whoever runs the step awaits it."""

    def __init__(self) -> None:
        self._future: asyncio.Future[Any] = context.shard().loop.create_future()
        self._returned = False

    def continueRun(self, result: Any) -> None:
        """Go on with `result` as what the step returned.

        GearsError where the step has not returned this future yet.
        """
        self._settle()
        setFutureResults(self._future, result)

    def continueFailed(self, message: Any) -> None:
        """The step failed: `message` is the error's text."""
        self._settle()
        setFutureException(self._future, message)

    def _settle(self) -> None:
        if not self._returned:
            raise GearsError("Can not handle future untill it returned from the callback")

    def __await__(self) -> Generator[Any, None, Any]:
        self._returned = True
        return self._future.__await__()


def gearsFuture(*arguments: Any) -> GearsFuture:
    """A future for the step that runs to return."""
    if arguments:
        raise GearsError("Future gets no arguments")
    current = context.current.get()
    if not current.async_allowed:
        raise GearsError("Creating async record is not allowed")
    if current.future is not None:
        raise GearsError("Can not create async record twice on the same step")
    current.future = GearsFuture()
    made: GearsFuture = current.future
    return made


def createFuture() -> asyncio.Future[Any]:
    """A future for a coroutine to await; setFutureResults and setFutureException settle it."""
    return context.shard().loop.create_future()


def setFutureResults(future: asyncio.Future[Any], result: Any) -> None:
    _check_future(future)
    context.shard().call_soon(_settle, future, result, None)


def setFutureException(future: asyncio.Future[Any], error: Any) -> None:
    """`error` is an exception, or a text to make one of."""
    _check_future(future)
    exception = error if isinstance(error, BaseException) else Exception(error)
    context.shard().call_soon(_settle, future, None, exception)


def runCoroutine(
    coroutine: Coroutine[Any, Any, Any], future: GearsFuture | None = None, delay: float = 0
) -> None:
    """Run a coroutine in the background, after `delay` seconds; how it ends settles `future`."""
    if not asyncio.iscoroutine(coroutine):
        raise GearsError("coroutine argument must be a coroutine")
    if not isinstance(delay, (int, float)):
        coroutine.close()
        raise GearsError("delay argument must be a number")
    background = context.current.get().background()
    shard = context.shard()

    def settle(task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            error: BaseException | None = GearsError("the coroutine was cancelled")
        else:
            error = task.exception()
        if future is not None:
            _settle(future._future, None if error else task.result(), error)
        elif error is not None:
            shard.log(f"a background coroutine failed: {error!r}", "warning")

    def start() -> None:
        shard.spawn(coroutine, background, settle)

    shard.call_soon(shard.loop.call_later, delay, start)


def _check_future(future: Any) -> None:
    if not asyncio.isfuture(future):
        raise GearsError("future argument must be a future")


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
