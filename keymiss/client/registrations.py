"""What RG.DUMPREGISTRATIONS tells, as values."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from .shards import text_of


@dataclass(frozen=True)
class Registration:
    """A function that a shard runs when something happens. `prefix` is what it watches, empty where that is
    no key."""

    session: str
    reader: str
    description: str
    prefix: str
    mode: str
    triggered: int
    succeeded: int
    failures: int


def read_registrations(client: redis.Redis) -> list[Registration]:
    """The registrations of one server. redis.ResponseError where it has no Keymiss."""
    return [_registration(_pairs(row)) for row in client.execute_command("RG.DUMPREGISTRATIONS")]


def _registration(row: dict[str, Any]) -> Registration:
    data = _pairs(row["RegistrationData"])
    arguments = _pairs(data["args"])
    return Registration(
        session=_session(text_of(row["PD"])),
        reader=text_of(row["reader"]),
        description=text_of(row["desc"] or ""),
        prefix=text_of(arguments.get("regex", "")),
        mode=text_of(data["mode"]),
        triggered=int(data["numTriggered"]),
        succeeded=int(data["numSuccess"]),
        failures=int(data["numFailures"]),
    )


def _session(described: str) -> str:
    """The session's name in its description: a dict as Python writes it, but for some of its values."""
    entry = described.strip("{}").split(", ", 1)[0]
    return str(ast.literal_eval("{" + entry + "}")["sessionName"])


def _pairs(row: Sequence[Any]) -> dict[str, Any]:
    return {text_of(name): value for name, value in zip(row[::2], row[1::2], strict=False)}
