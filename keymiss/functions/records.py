"""Records of keys and events: the dicts that steps get.

    {'event': 'set' or None, 'key': 'k', 'type': 'string', 'value': 'v'}

Strings, lists and hashes (as a dict) carry their value; other types, and a key that is not there (type
'empty'), carry None. Bytes are shown as everywhere (replies.text): str where they are UTF-8, else bytearray.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keymiss.functions.replies import from_resp, text

Commands = Callable[..., Any]  # runs one command in the shard, as execute() does

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


def read_key_record(
    call: Commands, key: str | bytearray, types: tuple[str, ...] = (), read_value: bool = True
) -> dict[str, Any] | None:
    """Read a key into a record; None where its type is none of `types` (empty: all)."""
    name = call("TYPE", key)
    kind = _TYPES.get(name, "module")
    if types and kind not in types and name not in types:
        return None
    if not read_value:
        return key_record(key)
    read = _READS.get(kind)
    value = value_of(kind, call(read[0], key, *read[1:])) if read else None
    return {"event": None, "key": key, "type": kind, "value": value}


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
