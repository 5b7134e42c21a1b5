"""What `register` accepts for each reader, checked when the script gives it.

The arguments that result are frozen, are saved with the registration, and know three things: what the module
has to watch for (`watch`), how RG.DUMPREGISTRATIONS shows them (`shown`), and what makes them the same as
another's (equality).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from keymiss.errors import GearsError
from keymiss.functions.readers import key_types, strings
from keymiss.functions.records import Commands
from keymiss.functions.replies import argument
from keymiss.functions.steps import Plan

MODES = ("async", "async_local", "sync")
POLICIES = ("continue", "abort", "retry")

Shown = list[Any]


@dataclass(frozen=True, slots=True)
class Watch:
    """What the module watches for a registration: the fields of a HOOK frame."""

    kind: str
    prefix: str = ""
    events: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    single_flight: bool = False
    read_value: bool = False


@dataclass(frozen=True, slots=True)
class KeysArguments:
    """KeysReader: events of keys, or of the given commands on keys."""

    prefix: str
    event_types: tuple[str, ...] | None
    key_types: tuple[str, ...] | None
    commands: tuple[str, ...] | None
    read_value: bool
    single_flight: bool

    def watch(self) -> Watch:
        return Watch(
            "keys",
            self.prefix,
            tuple(event.lower() for event in self.event_types or ()),
            self.key_types or (),
            tuple(command.lower() for command in self.commands or ()),
            self.single_flight,
            self.read_value,
        )

    def shown(self) -> Shown:
        lists = {"eventTypes": self.event_types, "keyTypes": self.key_types, "hookCommands": self.commands}
        shown: Shown = ["regex", self.prefix]
        for name, values in lists.items():
            shown += [name, None if values is None else list(values)]
        return shown


@dataclass(frozen=True, slots=True)
class StreamArguments:
    """StreamReader: entries added to streams, `batch` at a time or after `duration_ms`."""

    prefix: str
    batch: int
    duration_ms: int
    policy: str
    retry_interval_s: int
    trim: bool

    def watch(self) -> Watch:
        return Watch("stream", self.prefix, ("xadd",), ("stream",))

    def shown(self) -> Shown:
        return [
            *("batchSize", self.batch, "durationMS", self.duration_ms, "stream", self.prefix),
            *(
                "trimStream",
                int(self.trim),
                "onFailedPolicy",
                self.policy,
                "retryInterval",
                self.retry_interval_s,
            ),
        ]


@dataclass(frozen=True, slots=True)
class TriggerArguments:
    """CommandReader: RG.TRIGGER of a name."""

    trigger: str
    in_order: bool

    def watch(self) -> Watch:
        return Watch("trigger")

    def shown(self) -> Shown:
        return ["trigger", self.trigger, "inorder", int(self.in_order)]


@dataclass(frozen=True, slots=True)
class HookArguments:
    """CommandReader: a command of the server is taken over, on keys that start with `key_prefix` where that
    is given.
    """

    command: str
    key_prefix: str | None
    in_order: bool
    keys: tuple[int, int, int]  # the command's first and last key and the step, as COMMAND INFO tells them

    def takes(self, command: str, arguments: Sequence[Any]) -> bool:
        """Whether this command with these arguments (its name not among them) is taken over: one key is
        enough.
        """
        if command.lower() != self.command.lower():
            return False
        if self.key_prefix is None:
            return True
        first, last, step = self.keys
        end = last if last >= 0 else len(arguments) + 1 + last
        prefix = self.key_prefix.encode()
        return any(argument(key).startswith(prefix) for key in arguments[first - 1 : end : max(1, step)])

    def watch(self) -> Watch:
        return Watch("hook", (self.key_prefix or "") + "*", commands=(self.command.lower(),))

    def shown(self) -> Shown:
        return ["trigger", self.command, "inorder", int(self.in_order)]


Arguments: TypeAlias = KeysArguments | StreamArguments | TriggerArguments | HookArguments
CommandArguments = (TriggerArguments, HookArguments)


@dataclass(frozen=True, slots=True)
class Registering:
    """What `register` asks for."""

    reader: str
    plan: Plan
    mode: str
    arguments: Arguments
    on_registered: Callable[[], Any] | None
    desc: str | None
    parallel: bool = False  # its runs may go to processes beside the worker


def check_register(
    reader: str, mode: Any, on_registered: Any, options: dict[str, Any], call: Commands
) -> Arguments:
    """The arguments of a registration.

    GearsError, in the recorded words, where they are wrong; unknown ones are ignored.
    """
    check_mode(mode, MODES)
    if on_registered is not None and not callable(on_registered):
        raise GearsError("onRegistered argument must be a function")
    if reader == "KeysReader":
        return _keys_arguments(options, call)
    if reader == "StreamReader":
        return _stream_arguments(mode, options)
    if reader == "CommandReader":
        return _command_arguments(options, call)
    raise GearsError("given reader does not exists or does not support register")


def check_mode(mode: Any, modes: tuple[str, ...]) -> None:
    """GearsError where it is none of these modes."""
    if not isinstance(mode, str):
        raise GearsError("execution mode must be a string")
    if mode not in modes:
        raise GearsError("unknown execution mode")


def check_parallel(mode: str, options: dict[str, Any]) -> bool:
    """The option `parallel` of a registration. GearsError where it cannot be."""
    parallel: bool = _typed(options, "parallel", False, bool, "parallel is not boolean")
    if parallel and (mode == "sync" or options.get("hook") is not None):
        raise GearsError("parallel can not be given with mode='sync' or hook")
    return parallel


def _keys_arguments(options: dict[str, Any], call: Commands) -> KeysArguments:
    prefix = _prefix(options)
    event_types = strings(
        options, "eventTypes", "given eventTypes is not iterable", "given event type is not string"
    )
    types = key_types(options)
    commands = strings(
        options, "commands", "given commands is not iterable", "given command type is not string"
    )
    for command in commands or ():
        info = _command_info(call, command)
        if info is None:
            raise GearsError("bad reply on COMMAND command")
        if _not_in_scripts(info):
            raise GearsError("Can not hook a command which are not allowed inside a script")
        if prefix != "*" and _first_key(info) <= 0:
            raise GearsError("Can not hook a command by key prefix with none positive first key")
    read_value = _typed(options, "readValue", True, bool, "readValue is not boolean")
    single_flight = _typed(options, "singleFlight", False, bool, "singleFlight is not boolean")
    return KeysArguments(prefix, event_types, types, commands, read_value, single_flight)


def _stream_arguments(mode: str, options: dict[str, Any]) -> StreamArguments:
    prefix = _prefix(options)
    batch = _number(options, "batch", 1, "batch argument must be a number")
    duration_ms = _number(options, "duration", 0, "duration argument must be a number")
    policy = _typed(options, "onFailedPolicy", "continue", str, "onFailedPolicy must be a string")
    if policy.lower() not in POLICIES:
        raise GearsError("onFailedPolicy must be Continue/Abort/Retry")
    if mode == "sync" and policy.lower() != "continue":
        raise GearsError("ExecutionMode sync can only be combined with OnFailedPolicy Continue")
    interval_s = _number(options, "onFailedRetryInterval", 1, "retryInterval argument must be a number")
    trim = _typed(options, "trimStream", True, bool, "pyTrimmStream argument must be a boolean")
    if batch < 1:
        raise GearsError("batch argument must be greater than 0")
    if duration_ms < 0:
        raise GearsError("duration argument must not be negative")
    if interval_s < 0:
        raise GearsError("onFailedRetryInterval argument must not be negative")
    return StreamArguments(prefix, batch, duration_ms, policy.lower(), max(1, interval_s), trim)


def _command_arguments(options: dict[str, Any], call: Commands) -> TriggerArguments | HookArguments:
    trigger = _typed(options, "trigger", None, str, "trigger argument is not string")
    hook = _typed(options, "hook", None, str, "hook argument is not string")
    key_prefix = _typed(options, "keyprefix", None, str, "keyprefix argument is not string")
    in_order = _typed(options, "inorder", False, bool, "inorder argument is be boolean")
    if trigger is not None:
        if hook is not None or key_prefix is not None:
            raise GearsError("trigger argument can not be given with keyprefix or hook")
        return TriggerArguments(trigger, in_order)
    if hook is None:
        raise GearsError("trigger or hook argument must be given")
    info = _command_info(call, hook)
    if info is None:
        raise GearsError("Can not override an unexisting command")
    if _not_in_scripts(info):
        raise GearsError("Can not override a command which are not allowed inside a script")
    if key_prefix is not None and _first_key(info) <= 0:
        raise GearsError("Can not override a command by key prefix with none positive first key")
    return HookArguments(hook, key_prefix, in_order, _keys(info))


def _prefix(options: dict[str, Any]) -> str:
    prefix = options["prefix"]
    if not isinstance(prefix, str):
        raise GearsError("regex argument must be a string")
    return prefix


def _typed(options: dict[str, Any], name: str, default: Any, wanted: type, refusal: str) -> Any:
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, wanted):
        raise GearsError(refusal)
    return value


def _number(options: dict[str, Any], name: str, default: int, refusal: str) -> int:
    number = _typed(options, name, default, int, refusal)
    return int(number)


def _command_info(call: Commands, command: str) -> list[Any] | None:
    reply = call("COMMAND", "INFO", command)
    return reply[0] if reply and reply[0] else None


def _not_in_scripts(info: list[Any]) -> bool:
    return "noscript" in info[2]


def _first_key(info: list[Any]) -> int:
    return _keys(info)[0]


def _keys(info: list[Any]) -> tuple[int, int, int]:
    first, last, step = info[3:6]
    return first, last, step
