"""A DAG: several operations on tensors as one command, AI.DAGEXECUTE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import redis
from numpy.typing import ArrayLike, DTypeLike

from . import commands, replies
from .commands import Command, Key, Keys, Where

R = TypeVar("R")

_ON_KEYS = ("AI.MODELEXECUTE", "AI.SCRIPTEXECUTE")


class Dag(Generic[R]):
    """Operations that are run together, on tensors that only they see.

    `load` names the tensors taken from the keyspace at first, `persist` those put there at the end, `routing`
    any key or hash tag of the shard to run on; where none of the three is told, that is the first model's or
    script's. `timeout` is in milliseconds. A `readonly` one persists nothing and runs on replicas too.

    Each operation returns the DAG, so that they can be chained. ValueError where it is readonly and persists.
    """

    def __init__(
        self,
        run: Callable[[Command[list[Any]]], R],
        load: Keys | None = None,
        persist: Keys | None = None,
        routing: Key | None = None,
        timeout: int | None = None,
        readonly: bool = False,
    ) -> None:
        if readonly and persist:
            raise ValueError("a readonly DAG cannot persist tensors")
        self._run = run
        self._load, self._persist = commands.listed(load), commands.listed(persist)
        self._routing, self._timeout, self._readonly = routing, timeout, readonly
        self._operations: list[Command[Any]] = []

    def tensorset(
        self,
        key: Key,
        tensor: ArrayLike,
        shape: Sequence[int] | None = None,
        dtype: DTypeLike | None = None,
    ) -> Dag[R]:
        """A tensor to work on, as AI.tensorset takes it; its result is "OK"."""
        return self._add(commands.tensorset(key, tensor, shape, dtype))

    def tensorget(
        self, key: Key, as_numpy: bool = True, as_numpy_mutable: bool = False, meta_only: bool = False
    ) -> Dag[R]:
        """A tensor to give back, as AI.tensorget gives it."""
        if meta_only:
            return self._add(commands.tensorget(key, meta_only=True))
        if as_numpy:
            return self._add(commands.tensorget(key, as_numpy_mutable=as_numpy_mutable))
        return self._add(commands.tensorget(key, as_numpy=False))

    def modelexecute(self, key: Key, inputs: Keys, outputs: Keys) -> Dag[R]:
        """Run a model, on tensors of the DAG; its result is "OK"."""
        return self._add(commands.modelexecute(key, inputs, outputs))

    def scriptexecute(
        self,
        key: Key,
        function: str,
        keys: Keys | None = None,
        inputs: Keys | None = None,
        args: Any = None,
        outputs: Keys | None = None,
    ) -> Dag[R]:
        """Call an entry point of a script, on tensors of the DAG; its result is "OK"."""
        return self._add(commands.scriptexecute(key, function, keys, inputs, args, outputs))

    def modelrun(self, key: Key, inputs: Keys, outputs: Keys) -> Dag[R]:
        """Deprecated: as `modelexecute`."""
        commands.deprecated("modelrun", "modelexecute", stacklevel=3)
        return self.modelexecute(key, inputs, outputs)

    def execute(self) -> R:
        """Run it; the results of its operations, in order.

        redis.ResponseError naming the operation that failed: then nothing is persisted. DeadlineError where
        the timeout passed first.
        """
        return self._run(self._command())

    def run(self) -> R:
        """Deprecated: as `execute`."""
        commands.deprecated("run", "execute", stacklevel=3)
        return self.execute()

    def _add(self, operation: Command[Any]) -> Dag[R]:
        self._operations.append(operation)
        return self

    def _command(self) -> Command[list[Any]]:
        routing = self._routing
        if not (self._load or self._persist) and routing is None:
            routing = self._any_key()
        operations = tuple(self._operations)
        args = (
            "AI.DAGEXECUTE_RO" if self._readonly else "AI.DAGEXECUTE",
            *commands.counted(LOAD=self._load or None, PERSIST=self._persist or None),
            *commands.options(ROUTING=routing, TIMEOUT=self._timeout),
            *(part for operation in operations for part in ("|>", *operation.args)),
        )
        parse = partial(_results, operations)
        keys = [key for key in (routing, *self._load, *self._persist) if key is not None]
        if not keys:
            return Command(args, parse, Where.ANY)  # for the server to refuse
        return Command(args, parse, Where.TOLD_KEY, keys[0], once=True)

    def _any_key(self) -> Key | None:
        """The first key of the keyspace that an operation names; else any tensor's name."""
        named = [operation.args for operation in self._operations]
        first = next((args for args in named if args[0] in _ON_KEYS), named[0] if named else None)
        return first[1] if first else None


def _results(operations: tuple[Command[Any], ...], reply: Any) -> list[Any]:
    if not isinstance(reply, list):
        replies.ok(reply)  # it did not get its turn in time
    for number, (operation, told) in enumerate(zip(operations, reply, strict=True), start=1):
        if isinstance(told, Exception):
            raise redis.ResponseError(f"operation {number} of the DAG, {operation.name}: {told}")
    return [operation.parse(told) for operation, told in zip(operations, reply, strict=True)]
