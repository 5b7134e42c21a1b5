"""Stages of a traced request, as DONE tells them (docs/channel.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Stage(NamedTuple):
    """`began_s` and `ended_s` are of time.monotonic(), the clock that all processes of a host share. `facts`
    are numbers by name."""

    name: str
    began_s: float
    ended_s: float
    facts: tuple[tuple[str, int], ...] = ()


def stages_part(stages: Iterable[Stage]) -> bytes:
    """`<stages>`: a RESP2 array of [name, began_us, ended_us, (fact, number)...]."""
    told = [_stage(stage) for stage in stages]
    return b"*%d\r\n%b" % (len(told), b"".join(told))


def _stage(stage: Stage) -> bytes:
    head = _text(stage.name) + _number(round(1e6 * stage.began_s)) + _number(round(1e6 * stage.ended_s))
    facts = b"".join(_text(name) + _number(value) for name, value in stage.facts)
    return b"*%d\r\n%b%b" % (3 + 2 * len(stage.facts), head, facts)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-8", "replace")
    return b"$%d\r\n%b\r\n" % (len(encoded), encoded)


def _number(number: int) -> bytes:
    return b":%d\r\n" % number
