"""Profiles: where the time of a session's functions goes (RG.PYPROFILE), while ProfileExecutions is set.

Plain functions are profiled; a coroutine's time is that of many, and is left out. From Python 3.12 on one
thread of a process can be profiled at a time: where several run, the profile is a sample.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from keymiss.errors import GearsError
from keymiss.functions.context import current
from keymiss.functions.errors import OWN_CODE

DEFAULT_ORDER = "tottime"


class Profile:
    """Of one session on this shard. For every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stats: pstats.Stats | None = None

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Profile what this thread does inside."""
        profiler = cProfile.Profile()
        try:
            profiler.enable()
        except ValueError:  # another thread is being profiled
            yield
            return
        try:
            yield
        finally:
            profiler.disable()
            self._add(profiler)

    def _add(self, profiler: cProfile.Profile) -> None:
        collected: Any = _OfUsers(profiler)
        with self._lock:
            if self._stats is not None:
                self._stats.add(collected)
            elif collected.stats:
                self._stats = pstats.Stats(collected)

    def reset(self) -> None:
        """Forget what was collected."""
        with self._lock:
            self._stats = None

    def told(self, order: str) -> str:
        """Functions with their times, callers and callees, in the order of a column of `pstats`.

        GearsError where nothing was collected, or there is no such column.
        """
        with self._lock:
            if self._stats is None:
                raise GearsError("ERR nothing was profiled: RG.CONFIGSET ProfileExecutions 1, and run it")
            text = io.StringIO()
            self._stats.stream = text  # type: ignore[attr-defined]
            try:
                self._stats.sort_stats(order)
            except KeyError:
                orders = ", ".join(key.value for key in pstats.SortKey)
                raise GearsError(f"ERR a profile cannot be ordered by {order}, but by: {orders}") from None
            self._stats.print_stats().print_callers().print_callees()
            return text.getvalue()


def profiled() -> AbstractContextManager[None]:
    """Profile what is done inside for the session that runs here, where that is wanted."""
    session = current.get().session
    profile: Profile | None = None if session is None else session.profiling
    return nullcontext() if profile is None else profile.collect()


class _OfUsers:
    """A profile as `pstats` takes it, without this package, which is no business of a script's author."""

    def __init__(self, profiler: cProfile.Profile) -> None:
        self._profiler: Any = profiler
        self.create_stats()

    def create_stats(self) -> None:
        """`pstats` calls it."""
        self._profiler.create_stats()
        self.stats = {
            function: (*numbers, {caller: times for caller, times in callers.items() if not _own(caller)})
            for function, (*numbers, callers) in self._profiler.stats.items()
            if not _own(function)
        }


def _own(function: tuple[str, int, str]) -> bool:
    return function[0].startswith(OWN_CODE)
