"""Records of keys and events: the dicts that steps get.

    {'event': 'set' or None, 'key': 'k', 'type': 'string', 'value': 'v'}

Strings, lists and hashes (as a dict) carry their value; other types, and a key that is not there (type
'empty'), carry None. Bytes are shown as everywhere (replies.text): str where they are UTF-8, else bytearray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keymiss.errors import GearsError
from keymiss.functions.replies import from_resp, text

Commands = Callable[..., Any]  # runs one command in the shard, as execute() does
ManyCommands = Callable[[Sequence[Sequence[Any]]], list[Any]]  # Shard.execute_all

NOT_LOCAL = "access a non local key"  # what the server says of keys that another shard serves

_TYPES = {
    "string": "string",
    "list": "list",
    "hash": "hash",
    "set": "set",
    "zset": "zset",
    "stream": "unknown",
    "none": "empty",
    "empty": "empty",
}
_MOVING = object()  # in the place of a reply
_READS: dict[str, tuple[str | int, ...]] = {
    "string": ("GET",),
    "list": ("LRANGE", 0, -1),
    "hash": ("HGETALL",),
}


def value_of(kind: str, reply: Any) -> Any:
    """The value of a record of that type, from the reply of the command that reads it."""
    if kind == "hash" and reply is not None:
        return {_hashable(reply[i]): reply[i + 1] for i in range(0, len(reply), 2)}
    return reply if kind in _READS else None


def key_record(key: str | bytearray) -> dict[str, Any]:
    """The record of a key whose value is not read."""
    return {"event": None, "key": key}


def event_record(event: str, key: bytes, type_: str, value: bytes, read_value: bool) -> dict[str, Any]:
    """The record of a keyspace event. `value` is the snapshot, as RESP2; empty where there is none."""
    if not read_value:
        return {"event": event, "key": text(key)}
    kind = _TYPES.get(type_, "module")
    return {
        "event": event,
        "key": text(key),
        "type": kind,
        "value": value_of(kind, from_resp(value) if value else None),
    }


class KeysRead:
    """Reads keys into records, many at once, without those whose type is none of `types` (empty: all).

    `moving`: the keys that cannot be read, since their slots are on their way from or to this shard.
    """

    def __init__(self, call_all: ManyCommands, types: tuple[str, ...] = (), read_value: bool = True) -> None:
        self.moving: list[str | bytearray] = []
        self._call_all = call_all
        self._types = types
        self._read_value = read_value
        self._only_strings = False  # of the last ones: then GET tells the type of the next ones, too

    def __call__(self, keys: Sequence[str | bytearray]) -> list[dict[str, Any]]:
        """The records of these keys. GearsError where a key cannot be read."""
        if self._only_strings:
            values = self._call_all([("GET", key) for key in keys])
            if all(isinstance(value, (str, bytearray)) for value in values):
                return [_record(key, "string", value) for key, value in zip(keys, values, strict=True)]
        return self._read(keys)

    def _read(self, keys: Sequence[str | bytearray]) -> list[dict[str, Any]]:
        names = self._replies([("TYPE", key) for key in keys])
        wanted = [
            (key, _TYPES.get(name, "module"))
            for key, name in zip(keys, names, strict=True)
            if name is not _MOVING
            and (not self._types or name in self._types or _TYPES.get(name, "module") in self._types)
        ]
        if not self._read_value:
            return [key_record(key) for key, _ in wanted]
        self._only_strings = not self._types and all(kind == "string" for _, kind in wanted)
        reads = [(_READS[kind][0], key, *_READS[kind][1:]) for key, kind in wanted if kind in _READS]
        values = iter(self._replies(reads))
        found = [(key, kind, next(values) if kind in _READS else None) for key, kind in wanted]
        return [_record(*one) for one in found if one[2] is not _MOVING]

    def _replies(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """All replies. An error's command is run once more: by itself its reply may not be too large."""
        replies = self._call_all(commands)
        for at, reply in enumerate(replies):
            if isinstance(reply, GearsError):
                (replies[at],) = self._call_all([commands[at]])
                if isinstance(replies[at], GearsError):
                    if NOT_LOCAL not in str(replies[at]):
                        raise replies[at]
                    self.moving.append(commands[at][1])
                    replies[at] = _MOVING
        return replies


def _record(key: str | bytearray, kind: str, value: Any) -> dict[str, Any]:
    return {"event": None, "key": key, "type": kind, "value": value_of(kind, value)}


def stream_record(key: str | bytearray, entry_id: str, fields: list[Any]) -> dict[str, Any]:
    """The record of a stream's entry. Of a field that is there twice the last value counts."""
    return {
        "key": key,
        "id": entry_id,
        "value": {_hashable(fields[i]): fields[i + 1] for i in range(0, len(fields), 2)},
    }


def _hashable(name: Any) -> Any:
    """A field's name as the key of a dict: bytes where it is not UTF-8, since a bytearray cannot be one."""
    return bytes(name) if isinstance(name, bytearray) else name
