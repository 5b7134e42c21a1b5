"""Steps, and how records go through them.

A *plan* is a tuple of steps. It is cut into *legs* where records change shards (`collect`, `repartition`);
inside a leg a record goes through every step before the next one is read.

A pipeline never waits and knows no threads: its methods are generators that yield what a step returned to be
awaited (a coroutine or a gears future) and take the value, or the exception, back. So the same code runs
inline, in a thread, or is resumed when a coroutine ends; who drives it decides.

Order and errors are the recorded ones: flatmap passes a list from its end; an error of a plain function ends
the reading (what was gathered before it goes on), one of a coroutine costs only its record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from inspect import isawaitable
from typing import Any

from keymiss.errors import GearsError
from keymiss.functions import context
from keymiss.functions.errors import Aborted, error_text, flat_text

Waiting = Generator[Any, Any, None]
Emit = Callable[[Any], Awaitable[Any] | None]  # takes a record; what is to be awaited before the next one


class Kind(Enum):
    """What a step does. The value is the type that RG.GETEXECUTION shows."""

    MAP = "map"
    FILTER = "filter"
    FLATMAP = "flatmap"
    FOREACH = "foreach"
    LIMIT = "limit"
    ACCUMULATE = "accumulate"
    EXTRACT = "extractkey"  # value -> (key, value); keys are str
    REPARTITION = "repartition"  # to the shard that owns the key's slot
    VALUE = "getvalue"  # (key, value) -> value
    ACCUMULATE_BY_KEY = "accumulatebykey"  # (key, value) -> {'key', 'value'}
    GROUP = "reduce"  # (key, value) -> {'key', 'value'} of all values at once
    COLLECT = "collect"  # to the shard where the execution was started


SHUFFLES = (Kind.COLLECT, Kind.REPARTITION)


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it does, the function it calls; for `limit` how many records pass, after how many."""

    kind: Kind
    function: Callable[..., Any] | None = None
    length: int = 0
    offset: int = 0


Plan = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Leg:
    """The steps between two shuffles, and the shuffle that ends them (None for the last)."""

    steps: Plan
    shuffle: Kind | None


def local_steps(plan: Plan) -> Plan:
    """What a shard runs that has all records already. Not by a generator: every trigger comes by here."""
    return tuple([step for step in plan if step.kind not in SHUFFLES])


def legs_of(plan: Plan) -> list[Leg]:
    """Cut a plan where its records change shards. There is at least one leg."""
    legs: list[Leg] = []
    steps: list[Step] = []
    for step in plan:
        if step.kind in SHUFFLES:
            legs.append(Leg(tuple(steps), step.kind))
            steps = []
        else:
            steps.append(step)
    legs.append(Leg(tuple(steps), None))
    return legs


class NotAwaitable(GearsError):
    """Thrown into a pipeline by who drives it where nothing may be awaited."""


NotAwaitable.__module__, NotAwaitable.__qualname__, NotAwaitable.__name__ = "gears", "error", "error"


class _StopReading(Exception):
    """A plain function failed: no further record is read."""


_GATHERING = (Kind.ACCUMULATE, Kind.ACCUMULATE_BY_KEY, Kind.GROUP)
_NO_COROUTINE = {
    Kind.EXTRACT: "coroutine are not allow on extractor",
    Kind.GROUP: "coroutine are not allow on reduce",
}
_NOTHING = object()
_PLAIN = frozenset({str, int, float, bool, type(None), list, dict, tuple, bytes, bytearray, set})


class Pipeline:
    """The steps of one leg with their state: what a limit has passed, what an accumulator holds.

    `emit` takes each record that comes out, and may return what is to be awaited before the next; `errors`
    collects texts. `done` is true when no further record is wanted.
    """

    __slots__ = ("_emit", "_state", "_steps", "_with_traceback", "done", "errors")

    def __init__(
        self,
        steps: Iterable[Step],
        emit: Emit,
        errors: list[str],
        with_traceback: bool = True,
    ) -> None:
        self._steps = tuple(steps)
        self._emit = emit
        self._state: list[Any] = [_first_state(step) for step in self._steps]
        self._with_traceback = with_traceback
        self.errors = errors
        self.done = False

    def feed(self, record: Any) -> Waiting:
        """Pass one record through the steps."""
        try:
            yield from self._pass(record, 0)
        except _StopReading:
            self.done = True

    def read(self, records: Iterator[Any]) -> Waiting:
        """Pass every record of a reader, then finish.

        An error of the reader itself ends it as one of a step does.
        """
        while not self.done:
            try:
                record = next(records)
            except StopIteration:
                break
            except Aborted:
                raise
            except BaseException as error:
                # Without this frame it is told as that of a step is.
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                self.errors.append(error_text(error, self._with_traceback))
                break
            try:  # as `feed`, without a generator of its own for each record
                yield from self._pass(record, 0)
            except _StopReading:
                self.done = True
        yield from self.finish()

    def finish(self) -> Waiting:
        """There are no more records: pass on what the gathering steps hold, first steps first."""
        self.done = True
        for at, step in enumerate(self._steps):
            if step.kind in _GATHERING:
                held, self._state[at] = self._state[at], _first_state(step)
                try:
                    yield from self._release(step, held, at)
                except _StopReading:
                    continue

    def _release(self, step: Step, held: Any, at: int) -> Waiting:
        if step.kind is Kind.ACCUMULATE:
            if held is not _NOTHING:
                yield from self._pass(held, at + 1)
            return
        for key, value in held.items():
            if step.kind is Kind.GROUP:
                reduced = self._call(step, key, value)
                if _may_be_awaited(reduced):
                    reduced = yield from self._settle(step, reduced)
                if reduced is _NOTHING:
                    continue
                value = reduced
            yield from self._pass({"key": key, "value": value}, at + 1)

    def _pass(self, record: Any, at: int) -> Waiting:
        """Take a record from step `at` to the end, or to the step that keeps or drops it."""
        for i in range(at, len(self._steps)):
            step = self._steps[i]
            kind = step.kind
            if kind is Kind.LIMIT:
                if not self._within_limit(step, i):
                    return
                continue
            if kind is Kind.VALUE:
                record = record[1]
                continue
            if kind is Kind.GROUP:
                self._state[i].setdefault(record[0], []).append(record[1])
                return
            if kind in (Kind.ACCUMULATE, Kind.ACCUMULATE_BY_KEY):
                yield from self._gather(step, i, record)
                return
            value = self._call(step, record)
            if _may_be_awaited(value):
                value = yield from self._settle(step, value)
                if value is _NOTHING:
                    return
            if kind is Kind.MAP:
                record = value
            elif kind is Kind.FILTER:
                if not value:
                    return
            elif kind is Kind.EXTRACT:
                record = (value if isinstance(value, str) else str(value), record)
            elif kind is Kind.FLATMAP:
                if isinstance(value, list):
                    for item in reversed(value):
                        yield from self._pass(item, i + 1)
                    return
                record = value
        pause = self._emit(record)
        if pause is not None:
            yield pause

    def _within_limit(self, step: Step, at: int) -> bool:
        """Count a record that reached a limit. A negative length is no limit."""
        if step.length < 0:
            return True
        passed = self._state[at] = self._state[at] + 1
        last = step.offset + step.length
        if passed >= last and not any(earlier.kind in _GATHERING for earlier in self._steps[:at]):
            self.done = True
        return bool(step.offset < passed <= last)

    def _gather(self, step: Step, at: int, record: Any) -> Waiting:
        """Let an accumulator take a record. What it held is lost when it fails, as it always was."""
        if step.kind is Kind.ACCUMULATE:
            held, self._state[at] = self._state[at], _NOTHING
            value = self._call(step, None if held is _NOTHING else held, record)
        else:
            key, value = record
            value = self._call(step, key, self._state[at].pop(key, None), value)
        if _may_be_awaited(value):
            value = yield from self._settle(step, value)
            if value is _NOTHING:
                raise _StopReading
        if step.kind is Kind.ACCUMULATE:
            self._state[at] = value
        else:
            self._state[at][key] = value

    def _call(self, step: Step, *arguments: Any) -> Any:
        """Call the function. _StopReading where it failed."""
        assert step.function is not None
        context.current.get().future = None  # one gears future a step
        try:
            return step.function(*arguments)
        except (Aborted, GeneratorExit):
            raise
        except BaseException as error:
            self.errors.append(error_text(error, self._with_traceback))
            raise _StopReading from None

    def _settle(self, step: Step, value: Any) -> Generator[Any, Any, Any]:
        """What the function returned to be awaited is; _NOTHING where that failed. _StopReading where it may
        not be awaited.
        """
        refusal = _NO_COROUTINE.get(step.kind)
        if refusal is not None:
            _close(value)
            self.errors.append(refusal)
            raise _StopReading
        try:
            return (yield value)
        except NotAwaitable as error:
            _close(value)
            self.errors.append(error_text(error))
            raise _StopReading from None
        except (Aborted, GeneratorExit):
            _close(value)
            raise
        except BaseException as error:
            self.errors.append(flat_text(error))
            return _NOTHING


def _may_be_awaited(value: Any) -> bool:
    """What most functions return is told without asking what it can."""
    return type(value) not in _PLAIN and isawaitable(value)


def _first_state(step: Step) -> Any:
    if step.kind is Kind.LIMIT:
        return 0
    if step.kind is Kind.ACCUMULATE:
        return _NOTHING
    return {} if step.kind in _GATHERING else None


def _close(value: Any) -> None:
    close = getattr(value, "close", None)
    if close is not None:
        close()
