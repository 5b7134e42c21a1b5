"""How long the reader and each step of an execution took (RG.GETEXECUTION), while ProfileExecutions is set.

Of a coroutine it is the time until it has ended, so the steps of an execution may take longer than the whole.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from keymiss.functions.steps import Emit, Pipeline, Step, Waiting


class Durations:
    """Seconds that were spent on one shard. Steps are told from each other by what they are, not by how."""

    def __init__(self) -> None:
        self.read_s = 0.0
        self._steps_s: dict[int, float] = {}  # by the id of a step, which the execution's plan keeps

    def of(self, step: Step) -> float:
        return self._steps_s.get(id(step), 0.0)

    def add(self, step: Step, duration_s: float) -> None:
        self._steps_s[id(step)] = self.of(step) + duration_s

    def told(self, steps: Sequence[Step]) -> list[float]:
        """Of the reader and of these steps, as `add_told` takes it in another process."""
        return [self.read_s, *map(self.of, steps)]

    def add_told(self, told: Sequence[float], steps: Sequence[Step]) -> None:
        self.read_s += told[0]
        for step, duration_s in zip(steps, told[1:], strict=True):
            self.add(step, duration_s)


class TimedPipeline(Pipeline):
    """A pipeline that notes how long its steps take."""

    __slots__ = ("_durations",)

    def __init__(
        self,
        steps: Iterable[Step],
        emit: Emit,
        errors: list[str],
        with_traceback: bool,
        durations: Durations,
    ) -> None:
        super().__init__(steps, emit, errors, with_traceback)
        self._durations = durations

    def read(self, records: Iterator[Any]) -> Waiting:
        return super().read(self._timed(records))

    def _timed(self, records: Iterator[Any]) -> Iterator[Any]:
        while True:
            started = perf_counter()
            try:
                record = next(records)
            except StopIteration:
                return
            finally:
                self._durations.read_s += perf_counter() - started
            yield record

    def _call(self, step: Step, *arguments: Any) -> Any:
        with self._noted(step):
            return super()._call(step, *arguments)

    def _settle(self, step: Step, value: Any) -> Generator[Any, Any, Any]:
        with self._noted(step):
            return (yield from super()._settle(step, value))

    @contextmanager
    def _noted(self, step: Step) -> Iterator[None]:
        started = perf_counter()
        try:
            yield
        finally:
            self._durations.add(step, perf_counter() - started)


def pipeline(
    steps: Iterable[Step],
    emit: Emit,
    errors: list[str],
    with_traceback: bool,
    durations: Durations | None,
) -> Pipeline:
    """A pipeline, timed where there is something to note the times in."""
    if durations is None:
        return Pipeline(steps, emit, errors, with_traceback)
    return TimedPipeline(steps, emit, errors, with_traceback, durations)
