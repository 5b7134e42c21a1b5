"""Coroutines of users as tasks of the loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

from keymiss.errors import GearsError
from keymiss.functions.context import Context, current

T = TypeVar("T")


async def guarded(coroutine: Coroutine[Any, Any, T]) -> T:
    """A task that raises one of these would take the loop down with it."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as end:
        raise GearsError(f"a function cannot end its process: {end!r}") from None


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
