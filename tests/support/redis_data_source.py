"""What the plugin redis-datasource 2.2 makes of a query: the command it sends, the frames it parses from the
reply. It reads less than a client does: what it does not expect is an error, or no data.

After the behaviour of the plugin's backend, which takes replies of RESP2 into structures by their names.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import redis

Value: TypeAlias = int | float | str
Reply: TypeAlias = "int | bytes | list[Reply] | None"

EMPTY = "(empty array)"


class PluginError(Exception):
    """The panel shows an error, or nothing."""


@dataclass
class Frame:
    """A table: columns by their names, each of values of one type."""

    fields: dict[str, list[Value]] = field(default_factory=dict)

    def row(self, number: int) -> dict[str, Value]:
        return {name: values[number] for name, values in self.fields.items()}

    @property
    def length(self) -> int:
        return max(map(len, self.fields.values()), default=0)


def ask(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
    """The frames of one query. Raises PluginError where the plugin would have none."""
    if query.get("query"):
        return _custom(_send(client, *shlex.split(query["query"])))
    frames = _KNOWN[query["command"]](client, query)
    for frame in frames:
        lengths = set(map(len, frame.fields.values()))
        if len(lengths) > 1:
            raise PluginError(f"columns of different lengths: {lengths}")
        for name, values in frame.fields.items():
            if len(set(map(type, values))) > 1:
                raise PluginError(f"column {name} holds values of different types")
    if query.get("streaming") and query.get("field"):
        wanted = query["field"].split()
        return [
            Frame({name: frame.fields[name] for name in wanted if name in frame.fields}) for frame in frames
        ]
    return frames


def _send(client: redis.Redis, *command: str) -> Reply:
    """As the server replies, untouched by what the client would make of it."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command(*command)
        reply: Reply = connection.read_response()
    except redis.ResponseError as error:
        raise PluginError(str(error)) from error
    finally:
        client.connection_pool.release(connection)
    return reply


def _custom(reply: Reply) -> list[Frame]:
    """Any command: one column. Arrays are flattened, and hold nothing that is null."""
    values: list[Value]
    if isinstance(reply, int):
        values = [reply]
    elif isinstance(reply, bytes):
        lines = reply.decode().replace("\r\n", "\n").split("\n")
        values = [_number(lines[0])] if len(lines) == 1 else [*lines]
    elif isinstance(reply, list):
        values = [*_flat(reply)] or [EMPTY]
    else:
        raise PluginError("wrong command")
    return [Frame({"Value": values})]


def _flat(reply: Sequence[Reply]) -> list[str]:
    flat = []
    for element in reply:
        if isinstance(element, list):
            flat += _flat(element) or [EMPTY]
        elif element is None:
            raise PluginError("unsupported array return type")
        else:
            flat.append(element.decode() if isinstance(element, bytes) else str(element))
    return flat


def _number(text: str) -> Value:
    with contextlib.suppress(ValueError):
        return float(text)
    return text


def _text(reply: Reply) -> str:
    """A reply that is taken into a text."""
    if isinstance(reply, list):
        raise PluginError(f"cannot read an array as text: {reply}")
    return "" if reply is None else reply.decode() if isinstance(reply, bytes) else str(reply)


def _integer(reply: Reply) -> int:
    try:
        return int(_text(reply) or 0)
    except ValueError as error:
        raise PluginError(str(error)) from error


def _members(reply: Reply) -> dict[str, Reply]:
    """An array of names and values in turn, as it is taken into a structure."""
    if not isinstance(reply, list) or len(reply) % 2:
        raise PluginError(f"not names and values in turn: {reply}")
    return {_text(name): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def _elements(reply: Reply) -> list[Reply]:
    if not isinstance(reply, list):
        raise PluginError(f"not an array: {reply!r}")
    return reply


def _lines(reply: Reply) -> list[str]:
    return _text(reply).replace("\r\n", "\n").split("\n")


def _by_lines(*command: str) -> Callable[[redis.Redis, Mapping[str, Any]], list[Frame]]:
    """INFO and its like: a column for each line, `name:value`; what stands behind a second colon is lost."""

    def parse(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
        section = [query["section"]] if "section" in query else []
        pairs = [line.split(":") for line in _lines(_send(client, *command, *section)) if ":" in line]
        if section == ["commandstats"]:
            return [_command_stats(pairs)]
        return [Frame({pair[0]: [_number(pair[1])] for pair in pairs})]

    return parse


_STATS = {
    "Calls": "calls",
    "Usec": "usec",
    "Usec_per_call": "usec_per_call",
    "RejectedCalls": "rejected_calls",
    "FailedCalls": "failed_calls",
    "CallsMaster": "calls_master",
}


def _command_stats(pairs: Sequence[Sequence[str]]) -> Frame:
    frame = Frame({"Command": [], **{name: [] for name in _STATS}})
    for command, stats, *_ in pairs:
        told = dict(stat.split("=") for stat in stats.split(","))
        frame.fields["Command"].append(command.replace("cmdstat_", "", 1))
        for name, key in _STATS.items():
            frame.fields[name].append(float(told.get(key, 0)))
    return frame


def _client_list(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
    """The first client says which columns there are, and of which type."""
    frame = Frame()
    for line in _lines(_send(client, "CLIENT", "LIST")):
        pairs = [pair.split("=", 1) for pair in line.split()]
        for name, value in pairs:
            column = frame.fields.setdefault(name, [])
            column.append(int(value) if value.lstrip("-").isdigit() else value)
    return [frame]


def _slow_log(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
    frame = Frame({"Id": [], "Timestamp": [], "Duration": [], "Command": []})
    for entry in _elements(_send(client, "SLOWLOG", "GET")):
        number, time, duration, arguments, *_ = _elements(entry)
        command = " ".join(_text(argument) for argument in _elements(arguments))
        for name, value in zip(frame.fields, (number, time, duration, command), strict=True):
            frame.fields[name].append(_integer(value) if isinstance(value, int) else str(value))
    return [frame]


def _cluster_nodes(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
    names = ("Id", "Address", "Flags", "Master", "Ping", "Pong", "Epoch", "State", "Slot")
    frame = Frame({name: [] for name in names})
    for line in _lines(_send(client, "CLUSTER", "NODES")):
        parts = line.split(" ")
        if len(parts) < 8:
            continue
        for name, part in zip(names, [*parts, ""][: len(names)], strict=True):
            frame.fields[name].append(int(part) if name in ("Ping", "Pong", "Epoch") else part)
    return [frame]


def _py_stats(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
    told = _members(_send(client, "rg.pystats"))
    return [
        Frame(
            {
                name: [_integer(told.get(name))]
                for name in ("TotalAllocated", "PeakAllocated", "CurrAllocated")
            }
        )
    ]


def _registrations(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
    texts, numbers = (
        ("mode", "lastError", "status"),
        ("numTriggered", "numSuccess", "numFailures", "numAborted"),
    )
    frame = Frame({name: [] for name in ("id", "reader", "desc", "PD", *texts, *numbers, "args")})
    for entry in _elements(_send(client, "rg.dumpregistrations")):
        told = _members(entry)
        data = _members(told.get("RegistrationData"))
        for name in ("id", "reader", "desc", "PD"):
            frame.fields[name].append(_text(told.get(name)))
        for name in texts:
            frame.fields[name].append(_text(data.get(name)))
        for name in numbers:
            frame.fields[name].append(_integer(data.get(name)))
        arguments = _members(data.get("args")).items()
        frame.fields["args"].append("".join(f'"{name}"="{value!r}"\n' for name, value in arguments))
    return [frame]


def _requirements(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
    texts = ("Name", "IsDownloaded", "IsInstalled", "CompiledOs")
    frame = Frame({name: [] for name in ("GearReqVersion", *texts, "Wheels")})
    for entry in _elements(_send(client, "rg.pydumpreqs")):
        told = _members(entry)
        frame.fields["GearReqVersion"].append(_integer(told.get("GearReqVersion")))
        for name in texts:
            frame.fields[name].append(_text(told.get(name)))
        wheels = told.get("Wheels")
        if isinstance(wheels, list):
            if not all(isinstance(wheel, bytes) for wheel in wheels):
                raise PluginError(f"wheels are no texts: {wheels}")
            wheels = b", ".join(wheel for wheel in wheels if isinstance(wheel, bytes))
        frame.fields["Wheels"].append(_text(wheels))
    return [frame]


def _execute(client: redis.Redis, query: Mapping[str, Any]) -> list[Frame]:
    """Results and errors, each a column of texts; nothing of a function that only replies OK."""
    reply = _send(client, "rg.pyexecute", query["keyName"])
    frames = [Frame({"results": []}), Frame({"errors": []})]
    if isinstance(reply, bytes):
        return frames
    results, errors = _elements(reply)
    for frame, name, entries in zip(frames, ("results", "errors"), (results, errors), strict=True):
        for entry in _elements(entries):
            if not isinstance(entry, bytes):
                raise PluginError(f"a result is no text: {entry!r}")
            frame.fields[name].append(entry.decode())
    return frames


_KNOWN: dict[str, Callable[[redis.Redis, Mapping[str, Any]], list[Frame]]] = {
    "info": _by_lines("INFO"),
    "clusterInfo": _by_lines("CLUSTER", "INFO"),
    "clusterNodes": _cluster_nodes,
    "clientList": _client_list,
    "slowlogGet": _slow_log,
    "rg.pystats": _py_stats,
    "rg.dumpregistrations": _registrations,
    "rg.pydumpreqs": _requirements,
    "rg.pyexecute": _execute,
}
