"""GearsBuilder (GB): what scripts write their functions with.

Every method appends a step and returns the builder. `run` and `register` check what they are given and hand a
finished plan to the script, or to the session of the function, that is running (`host`).

Functions must be plain `def`, `async def` or `lambda`: what can be sent to other shards and saved in the
server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Protocol

from keymiss.errors import GearsError
from keymiss.functions import context
from keymiss.functions.readers import Source, check_run, exists, scan
from keymiss.functions.registering import Registering, check_mode, check_parallel, check_register
from keymiss.functions.steps import Kind, Plan, Step

RUN_MODES = ("async", "async_local")


@dataclass(frozen=True, slots=True)
class Run:
    """What `run` asks for. `mode` is one of RUN_MODES."""

    plan: Plan
    source: Source
    mode: str


class Host(Protocol):
    """Takes what a builder has finished: a script that is being executed, or the session of a running
    function.
    """

    def run(self, run: Run) -> Any:
        """Start, or keep for the script's end, an execution.

        What GB.run returns: an awaitable of [results, errors].
        """

    def register(self, registering: Registering) -> str:
        """Add a registration; its id."""

    def execute(self, *argv: Any) -> Any:
        """Run one command in the shard, as the name execute() of scripts does."""

    @property
    def background(self) -> Host:
        """Who takes what coroutines and time events that are started here hand over."""


def host() -> Host:
    """The script, or the session of the function, that runs here.

    GearsError in a thread that a function has started.
    """
    session: Host | None = context.current.get().session
    if session is None:
        raise GearsError("GearsBuilder cannot be used here: no script or function is running")
    return session


class GearsBuilder:
    """A function under construction.

    `reader` is the name of a reader, `defaultArg` what `run` reads, or the prefix of `register`, where they
    are given nothing, `desc` a text that RG.DUMPREGISTRATIONS shows.
    """

    def __init__(self, reader: str = "KeysReader", defaultArg: Any = "*", desc: str | None = None) -> None:
        if not isinstance(reader, str):
            raise GearsError("reader argument must be a string")
        if reader not in READERS:
            raise GearsError("The given reader does not exists")
        self.realReader = reader
        self.reader = "PythonReader" if reader in WRITTEN_IN_PYTHON else reader
        self.defaultArg = defaultArg
        self.desc = desc
        self._steps: list[Step] = []

    # Steps of one function

    def map(self, *arguments: Any) -> GearsBuilder:
        """Replace each record by what the function returns for it."""
        return self._add(Kind.MAP, _one_function("map", arguments))

    def filter(self, *arguments: Any) -> GearsBuilder:
        """Keep the records for which the function returns something true."""
        return self._add(Kind.FILTER, _one_function("filter", arguments))

    def flatmap(self, *arguments: Any) -> GearsBuilder:
        """As `map`, but each item of a returned list is a record of its own (the last item first)."""
        return self._add(Kind.FLATMAP, _one_function("flatmap", arguments))

    def foreach(self, *arguments: Any) -> GearsBuilder:
        """Call the function for each record and pass the record on."""
        return self._add(Kind.FOREACH, _one_function("foreach", arguments))

    def accumulate(self, *arguments: Any) -> GearsBuilder:
        """Fold the records of this shard into one: function(accumulator or None, record)."""
        return self._add(Kind.ACCUMULATE, _one_function("accumulate", arguments))

    def limit(self, *arguments: Any) -> GearsBuilder:
        """limit(length, start=0): pass at most `length` records of this shard, after the first `start`."""
        if not 1 <= len(arguments) <= 2:
            raise GearsError("wrong number of args to limit function")
        if not all(isinstance(argument, int) for argument in arguments):
            raise GearsError("limit argument must be a number")
        self._steps.append(
            Step(Kind.LIMIT, length=arguments[0], offset=arguments[1] if len(arguments) > 1 else 0)
        )
        return self

    # Steps that move records between shards

    def collect(self, *arguments: Any) -> GearsBuilder:
        """Bring the records of all shards to the one where the execution was started."""
        if arguments:
            raise GearsError("wrong number of args to collect function")
        return self._add(Kind.COLLECT)

    def repartition(self, *arguments: Any) -> GearsBuilder:
        """Bring each record to the shard that owns the slot of the key which the function returns for it."""
        extractor = _one_function("repartition", arguments)
        return self._add(Kind.EXTRACT, extractor)._add(Kind.REPARTITION)._add(Kind.VALUE)

    # Steps by key

    def groupby(self, *arguments: Any) -> GearsBuilder:
        """groupby(extractor, reducer): fold by key over all shards, reducer(key, accumulator or None,
        record).
        """
        extractor, reducer = _extractor_and_reducer("groupby", arguments)
        return self._add(Kind.EXTRACT, extractor)._add(Kind.REPARTITION)._add(Kind.ACCUMULATE_BY_KEY, reducer)

    def localgroupby(self, *arguments: Any) -> GearsBuilder:
        """As `groupby`, over the records of this shard only."""
        extractor, reducer = _extractor_and_reducer("groupby", arguments)
        return self._add(Kind.EXTRACT, extractor)._add(Kind.ACCUMULATE_BY_KEY, reducer)

    def batchgroupby(self, *arguments: Any) -> GearsBuilder:
        """batchgroupby(extractor, reducer): all records of a key at once, reducer(key, records)."""
        extractor, reducer = _extractor_and_reducer("batchgroupby", arguments)
        return self._add(Kind.EXTRACT, extractor)._add(Kind.REPARTITION)._add(Kind.GROUP, reducer)

    # Steps made of other steps

    def aggregate(self, zero: Any, seqOp: Callable[..., Any], combOp: Callable[..., Any]) -> GearsBuilder:
        """Fold on each shard by seqOp(accumulator, record), then the shards' results by combOp.

        Both start at `zero`.
        """
        self.accumulate(lambda held, record: seqOp(held if held else zero, record))
        self.collect()
        return self.accumulate(lambda held, record: combOp(held if held else zero, record))

    def aggregateby(
        self,
        extractor: Callable[[Any], Any],
        zero: Any,
        seqOp: Callable[..., Any],
        combOp: Callable[..., Any],
    ) -> GearsBuilder:
        """As `aggregate`, by key: seqOp(key, accumulator, record), combOp(key, accumulator, accumulator)."""
        self.localgroupby(
            lambda record: extractor(record),
            lambda key, held, record: seqOp(key, held if held else zero, record),
        )
        return self.groupby(
            lambda record: record["key"],
            lambda key, held, record: combOp(key, held if held else zero, record["value"]),
        )

    def count(self) -> GearsBuilder:
        """The number of records; no record where there is none."""
        self.accumulate(lambda held, record: 1 + (held if held else 0))
        self.collect()
        return self.accumulate(lambda held, record: record + (held if held else 0))

    def countby(self, extractor: Callable[[Any], Any] = lambda record: record) -> GearsBuilder:
        """The number of records of each key: {'key', 'value'}."""
        return self.aggregateby(
            extractor, 0, lambda key, held, record: 1 + held, lambda key, held, more: held + more
        )

    def avg(self, extractor: Callable[[Any], Any] = lambda record: record) -> GearsBuilder:
        """The average of what the function returns for each record, a float."""
        self.map(extractor)
        self.aggregate(
            (0, 0),
            lambda held, record: (held[0] + float(record), held[1] + 1),
            lambda held, more: (held[0] + more[0], held[1] + more[1]),
        )
        return self.map(lambda held: held[0] / held[1])

    def distinct(self) -> GearsBuilder:
        """Each record once. Records must be hashable."""
        self.accumulate(lambda held, record: _added(held, record))
        self.collect()
        self.accumulate(lambda held, more: more if held is None else held | more)
        return self.flatmap(lambda held: list(held))

    def sort(self, reverse: bool = True) -> GearsBuilder:
        """All records in ascending order; sort(False): descending. (The recorded meaning, since flatmap
        reverses.)
        """
        self.accumulate(lambda held, record: _appended(held, record))
        self.collect()
        self.accumulate(lambda held, more: more if held is None else held + more)
        return self.map(lambda held: sorted(held, reverse=reverse)).flatmap(lambda held: held)

    # The ends

    def run(
        self,
        arg: Any = None,
        convertToStr: bool = True,
        collect: bool = True,
        mode: str = "async",
        **options: Any,
    ) -> Any:
        """Execute now, or when the script ends: on all shards, or with mode='async_local' on this one.

        `arg` is what the reader reads; of keys, `prefix` is the same. Inside a function the result can be
        awaited: [results, errors].
        """
        if self.realReader in KEYS_READERS:
            arg = options.pop("prefix", None) if arg is None else arg
        if self.realReader == "KeysOnlyReader":
            source = check_run("PythonReader", createKeysOnlyReader(arg or self.defaultArg, **options), {})
        elif self.realReader == "ShardsIDReader":
            source = check_run("PythonReader", shardReaderCallback, {})
        else:
            source = check_run(self.reader, arg or self.defaultArg, options)
        check_mode(mode, RUN_MODES)
        return host().run(Run(self._finished(convertToStr, collect), source, mode))

    def register(
        self,
        prefix: Any = None,
        convertToStr: bool = True,
        collect: bool = True,
        mode: str = "async",
        onRegistered: Callable[[], Any] | None = None,
        **options: Any,
    ) -> str:
        """Execute on each event that the reader is told of, on every shard from now on.

        The registration's id.
        """
        options["prefix"] = options.pop("regex", self.defaultArg if prefix is None else prefix)
        arguments = check_register(self.realReader, mode, onRegistered, options, host().execute)
        plan = self._finished(convertToStr, collect)
        parallel = check_parallel(mode, options)
        return host().register(
            Registering(self.realReader, plan, mode, arguments, onRegistered, self.desc, parallel)
        )

    def _finished(self, convert_to_str: bool, collect: bool) -> Plan:
        steps = list(self._steps)
        if convert_to_str:
            steps.append(Step(Kind.MAP, to_str))
        if collect:
            steps.append(Step(Kind.COLLECT))
        return tuple(steps)

    def _add(self, kind: Kind, function: Callable[..., Any] | None = None) -> GearsBuilder:
        self._steps.append(Step(kind, function))
        return self


KEYS_READERS = ("KeysReader", "KeysOnlyReader")
WRITTEN_IN_PYTHON = ("KeysOnlyReader", "ShardsIDReader")
READERS = (
    *KEYS_READERS,
    "PythonReader",
    "ShardsIDReader",
    "StreamReader",
    "CommandReader",
)


def to_str(record: Any) -> str:
    """The last step of `convertToStr=True`."""
    return str(record)


def _added(held: set[Any] | None, record: Any) -> set[Any]:
    held = set() if held is None else held
    held.add(record)
    return held


def _appended(held: list[Any] | None, record: Any) -> list[Any]:
    held = [] if held is None else held
    held.append(record)
    return held


def createKeysOnlyReader(
    pattern: str = "*",
    count: int = 1000,
    noScan: bool = False,
    patternGenerator: Callable[[], tuple[str, bool]] | None = None,
) -> Callable[[], Any]:
    """A generator function over the names of keys, as GB('KeysOnlyReader') uses it.

    `patternGenerator`, called on each shard, gives (pattern, noScan) instead of the two arguments.
    """

    def keysOnlyReader() -> Any:
        wanted, exact = patternGenerator() if patternGenerator is not None else (pattern, noScan)
        call = host().execute
        if exact:
            if exists(call, wanted):
                yield wanted
            return
        yield from scan(call, wanted, count)

    return keysOnlyReader


def shardReaderCallback() -> Any:
    """A generator function that yields the id of this shard: one record a shard, as GB('ShardsIDReader') uses
    it.
    """
    answer = host().execute("RG.INFOCLUSTER")
    yield "1" if isinstance(answer, str) else answer[1]


def _one_function(step: str, arguments: tuple[Any, ...]) -> Callable[..., Any]:
    if len(arguments) != 1:
        raise GearsError(f"wrong number of args to {step} function")
    return _function(arguments[0], f"{step} argument must be a function")


def _extractor_and_reducer(
    step: str, arguments: tuple[Any, ...]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A reducer is not checked: one that cannot be called fails when it is (scripts rely on building without
    running).
    """
    if len(arguments) != 2:
        raise GearsError(f"wrong number of args to {step} function")
    return _function(arguments[0], f"{step} extractor argument must be a function"), arguments[1]


def _function(value: Any, refusal: str) -> Callable[..., Any]:
    if not isinstance(value, FunctionType):
        raise GearsError(refusal)
    return value
