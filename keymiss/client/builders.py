"""Builders of functions: GearsBuilder of scripts, in a program.

A builder only notes what it is told. `run`, `start` and `register` send it all at once, as a script of one
call (`keymiss.functions.remote`) with a pickle of the steps in it.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

import cloudpickle  # type: ignore[import-untyped]

from ..errors import FunctionError
from . import replies
from .commands import Command, Where, listed
from .shards import text_of
from .tracebacks import readable

Function = Callable[..., Any]
T = TypeVar("T")
B = TypeVar("B", bound="Steps")

_NOT_OF_A_RUN = {"prefix", "convertToStr"}  # results come as they are
_SCRIPT = "from keymiss.functions import remote\nremote.build(globals(), {python}, {plan!r})\n"


class Results(NamedTuple):
    """What an execution gave, in the order of its records, and the texts of what went wrong in it."""

    results: list[Any]
    errors: list[str]


@dataclass(frozen=True)
class Session:
    """The session that functions are run and registered in: the options of RG.PYEXECUTE.

    A `name` that has registrations already wants `upgrade`. `requirements` are as pip takes them, one or
    several; with `force_reinstall` they are installed anew.
    """

    name: str | None = None
    description: str | None = None
    upgrade: bool = False
    replace_with: str | None = None
    requirements: str | Sequence[str] = ()
    force_reinstall: bool = False

    def arguments(self) -> tuple[str, ...]:
        named = {"ID": self.name, "DESCRIPTION": self.description, "REPLACE_WITH": self.replace_with}
        told = [part for name, value in named.items() if value is not None for part in (name, value)]
        told += ["UPGRADE"] * self.upgrade
        if self.requirements:
            word = "FORCE_REINSTALL_REQUIREMENTS" if self.force_reinstall else "REQUIREMENTS"
            told += [word, *listed(self.requirements)]
        return tuple(told)


class Steps:
    """The steps of a function. Each method adds one and returns the builder; GearsBuilder has the same.

    TypeError where a step is given what cannot be called.
    """

    def __init__(self, reader: str, default: Any, desc: str | None, session: Session) -> None:
        self._head = (reader, default, desc)
        self._session = session
        self._steps: list[tuple[str, tuple[Any, ...]]] = []

    def map(self: B, function: Function) -> B:
        """Replace each record by what the function returns for it."""
        return self._add("map", _function(function))

    def filter(self: B, function: Function) -> B:
        """Keep the records for which the function returns something true."""
        return self._add("filter", _function(function))

    def flatmap(self: B, function: Function) -> B:
        """As `map`, but each item of a returned list is a record of its own."""
        return self._add("flatmap", _function(function))

    def foreach(self: B, function: Function) -> B:
        """Call the function for each record and pass the record on."""
        return self._add("foreach", _function(function))

    def accumulate(self: B, function: Function) -> B:
        """Fold the records of each shard into one: function(accumulator or None, record)."""
        return self._add("accumulate", _function(function))

    def limit(self: B, length: int, start: int = 0) -> B:
        """Pass at most `length` records of each shard, after the first `start`."""
        return self._add("limit", length, start)

    def collect(self: B) -> B:
        """Bring the records of all shards to the one where the execution was started."""
        return self._add("collect")

    def repartition(self: B, extractor: Function) -> B:
        """Bring each record to the shard of the key that the function returns for it."""
        return self._add("repartition", _function(extractor))

    def groupby(self: B, extractor: Function, reducer: Function) -> B:
        """Fold by key over all shards: reducer(key, accumulator or None, record)."""
        return self._add("groupby", _function(extractor), _function(reducer))

    def localgroupby(self: B, extractor: Function, reducer: Function) -> B:
        """As `groupby`, over the records of each shard."""
        return self._add("localgroupby", _function(extractor), _function(reducer))

    def batchgroupby(self: B, extractor: Function, reducer: Function) -> B:
        """All records of a key at once: reducer(key, records)."""
        return self._add("batchgroupby", _function(extractor), _function(reducer))

    def aggregate(self: B, zero: Any, seqOp: Function, combOp: Function) -> B:
        """Fold on each shard by seqOp(accumulator, record), then the shards' results by combOp."""
        return self._add("aggregate", zero, _function(seqOp), _function(combOp))

    def aggregateby(self: B, extractor: Function, zero: Any, seqOp: Function, combOp: Function) -> B:
        """As `aggregate`, by key: seqOp(key, accumulator, record), combOp(key, accumulator, accumulator)."""
        return self._add("aggregateby", _function(extractor), zero, _function(seqOp), _function(combOp))

    def count(self: B) -> B:
        """The number of records."""
        return self._add("count")

    def countby(self: B, extractor: Function | None = None) -> B:
        """The number of records of each key: {'key', 'value'}. A record is its own key unless told."""
        return self._add("countby", *_functions(extractor))

    def avg(self: B, extractor: Function | None = None) -> B:
        """The average of the records, or of what the function returns for each."""
        return self._add("avg", *_functions(extractor))

    def distinct(self: B) -> B:
        """Each record once. Records must be hashable."""
        return self._add("distinct")

    def sort(self: B, reverse: bool = True) -> B:
        """All records in ascending order; sort(False): descending, as with GearsBuilder."""
        return self._add("sort", reverse)

    def _add(self: B, step: str, *arguments: Any) -> B:
        self._steps.append((step, arguments))
        return self

    def _script(self, options: dict[str, Any]) -> str:
        """FunctionError where a function, or something that it refers to, cannot be pickled."""
        try:
            plan = cloudpickle.dumps((*self._head, self._steps, options))
        except Exception as error:
            raise FunctionError(f"a function cannot be sent: {type(error).__name__}: {error}") from error
        return _SCRIPT.format(python=tuple(sys.version_info[:2]), plan=b64encode(plan).decode())

    def _command(
        self, parse: Callable[[Any], T], options: dict[str, Any], *words: str, node: Any = None
    ) -> Command[T]:
        args = ("RG.PYEXECUTE", self._script(options), *words, *self._session.arguments())
        return Command(args, parse, Where.SHARD, node=node, once=True)

    def _run(self, options: dict[str, Any]) -> Command[Results]:
        return self._command(read_results, options)

    def _start(self, options: dict[str, Any], node: Any) -> Command[str]:
        return self._command(text_of, options, "UNBLOCKING", node=node)

    def _register(self, options: dict[str, Any]) -> Command[str]:
        return self._command(replies.ok, options)


def run_options(arg: Any, collect: bool, mode: str, options: dict[str, Any]) -> dict[str, Any]:
    """What `run` of a builder is told. TypeError for what makes no sense in a run from outside."""
    for name in _NOT_OF_A_RUN.intersection(options):
        raise TypeError(f"run() got an unexpected keyword argument {name!r}")
    return {"arg": arg, "collect": collect, "mode": mode, **options}


def read_results(reply: Any) -> Results:
    """What RG.PYEXECUTE and RG.GETRESULTS tell. FunctionError where a result cannot be made again here."""
    results, errors = reply
    return Results([_loaded(result) for result in results], [readable(text_of(text)) for text in errors])


def _loaded(result: Any) -> Any:
    if isinstance(result, Exception):
        raise result
    try:
        return cloudpickle.loads(result)
    except Exception as error:
        raise FunctionError(f"a result cannot be read here: {type(error).__name__}: {error}") from error


def _functions(value: Function | None) -> tuple[Function, ...]:
    return () if value is None else (_function(value),)


def _function(value: Any) -> Function:
    """As a plain function: GearsBuilder takes no other callables."""
    if not callable(value):
        raise TypeError(f"a step takes a function, not {value!r}")
    if isinstance(value, FunctionType):
        return value
    return lambda *arguments: value(*arguments)
