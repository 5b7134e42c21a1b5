"""Readers: where the records of an execution come from, and what `run` and `register` accept for each.

A reader checks its arguments when the script gives them, so that a mistake is an error of that line of the
script, and leaves a small frozen description of what to read, which travels to other shards inside the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import isasyncgenfunction, iscoroutinefunction
from itertools import islice
from types import FunctionType
from typing import Any, Protocol

from keymiss.errors import GearsError, GearsFlatError
from keymiss.functions.context import shard
from keymiss.functions.records import NOT_LOCAL, Commands, KeysRead, key_record, stream_record

_GLOB = frozenset("*?[\\")
_SCAN_COUNT = 1000
_READ_AHEAD = 100  # keys whose values are read together


class Source(Protocol):
    """What `run` reads.

    `records` is called in the thread that runs the execution; it may be stopped between records.
    """

    def records(self, call: Commands) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class KeysSource:
    """Keys of the shard that match a glob pattern, with their values."""

    pattern: str
    read_value: bool = True
    no_scan: bool = False
    key_types: tuple[str, ...] = ()

    def records(self, call: Commands) -> Iterator[Any]:
        read = KeysRead(shard().execute_all, self.key_types, self.read_value)
        if self.no_scan:
            if exists(call, self.pattern) is not None:  # the shard that serves it reads it, missing or not
                yield from read([self.pattern]) if self.read_value else [key_record(self.pattern)]
        else:
            yield from self._scanned(call, read)
        if read.moving:
            raise GearsFlatError(
                f"ERR {len(read.moving)} keys, {read.moving[0]!r} among them, were not read: their slots "
                "are on the way from one shard to another"
            )

    def _scanned(self, call: Commands, read: KeysRead) -> Iterator[Any]:
        keys = scan(call, self.pattern, _SCAN_COUNT)
        if not self.read_value and not self.key_types:
            yield from map(key_record, keys)
            return
        while some := list(islice(keys, _READ_AHEAD)):
            # Those that were deleted since they were scanned are left out.
            yield from (record for record in read(some) if record.get("type") != "empty")


@dataclass(frozen=True, slots=True)
class PythonSource:
    """What a generator function yields; a function that is none is called again and again until it raises."""

    function: Callable[[], Any]

    def records(self, call: Commands) -> Iterator[Any]:
        first = self.function()
        if isinstance(first, Iterator):
            yield from first
            return
        yield first
        while True:
            yield self.function()


@dataclass(frozen=True, slots=True)
class StreamSource:
    """The entries of one stream, after the entry `from_id`."""

    key: str
    from_id: str

    def records(self, call: Commands) -> Iterator[Any]:
        after = self.from_id
        while True:
            try:
                read = call("XREAD", "COUNT", _SCAN_COUNT, "STREAMS", self.key, after)
            except GearsError as error:
                if NOT_LOCAL in str(error):
                    return
                raise GearsFlatError(str(error)) from None
            if not read:
                return
            for entry_id, fields in read[0][1]:
                after = entry_id
                yield stream_record(self.key, entry_id, fields)


@dataclass(frozen=True, slots=True)
class RecordsSource:
    """Records that are there already: what fired a registration."""

    items: tuple[Any, ...]

    def records(self, call: Commands) -> Iterator[Any]:
        return iter(self.items)


def scan(call: Commands, pattern: str, count: int, type_: str | None = None) -> Iterator[Any]:
    """The keys that match a pattern, of that type where it has wildcards; one without is not scanned for."""
    if not _GLOB.intersection(pattern):
        if exists(call, pattern):
            yield pattern
        return
    cursor, options = "0", () if type_ is None else ("TYPE", type_)
    while True:
        cursor, keys = call("SCAN", cursor, "MATCH", pattern, "COUNT", count, *options)
        yield from keys
        if cursor == "0":
            return


def exists(call: Commands, key: str) -> bool | None:
    """Whether this shard has the key; None where another one serves it."""
    try:
        return bool(call("EXISTS", key))
    except GearsError as error:
        if NOT_LOCAL in str(error):
            return None
        raise


def check_run(reader: str, argument: Any, options: dict[str, Any]) -> Source:
    """The source that `GB(reader).run(argument, **options)` reads.

    Options a reader does not know are ignored.
    """
    if reader == "PythonReader":
        if not isinstance(argument, FunctionType):
            raise GearsError("pyreader argument must be a function")
        if iscoroutinefunction(argument) or isasyncgenfunction(argument):  # would be called without end
            raise GearsError("coroutine are not allow on reader")
        return PythonSource(argument)
    if reader in ("KeysReader", "StreamReader") and not isinstance(argument, str):
        raise GearsError("regex argument must be a string")
    if reader == "KeysReader":
        return KeysSource(
            pattern=argument,
            read_value=_boolean(options, "readValue", True, "readValue value is not boolean"),
            no_scan=_boolean(options, "noScan", False, "exactMatch value is not boolean"),
            key_types=key_types(options) or (),
        )
    if reader == "StreamReader":
        from_id = options.get("fromId", "0-0")
        if not isinstance(from_id, str):
            raise GearsError("fromId argument must be a string")
        return StreamSource(argument, from_id)
    raise GearsError("Given reader do not support run or not exists")


KEY_TYPES = ("string", "list", "hash", "set", "zset", "stream", "module", "empty")


def key_types(options: dict[str, Any]) -> tuple[str, ...] | None:
    """The option `keyTypes`: names of types, None where it is not given."""
    names = strings(options, "keyTypes", "given keyTypes is not iterable", "given key type is not string")
    for name in names or ():
        if name not in KEY_TYPES:
            raise GearsError("unknown key type")
    return names


def strings(options: dict[str, Any], name: str, not_iterable: str, not_string: str) -> tuple[str, ...] | None:
    """An option that is a list of strings; None where it is not given. GearsError in one of the two words."""
    given = options.get(name)
    if given is None:
        return None
    if isinstance(given, str):  # its letters are never what was meant
        raise GearsError(f"given {name} must be a list")
    try:
        items = tuple(given)
    except TypeError:
        raise GearsError(not_iterable) from None
    if not all(isinstance(item, str) for item in items):
        raise GearsError(not_string)
    return items


def _boolean(options: dict[str, Any], name: str, default: bool, refusal: str) -> bool:
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise GearsError(refusal)
    return value
