"""Plans as RG.GETEXECUTION shows them: the steps of the original that each step stands for."""

from __future__ import annotations

from typing import Any

from keymiss.functions.builder import to_str
from keymiss.functions.durations import Durations
from keymiss.functions.steps import Kind, Plan, Step

_CALLBACK = "RedisGearsPy_PyCallback"  # what steps are called that call a function
_TO_PYTHON = ("map", "RedisGearsPy_ToPyRecordMapper", "")
_CALLBACKS = {
    Kind.MAP: "Mapper",
    Kind.FILTER: "Filter",
    Kind.FLATMAP: "FlatMapper",
    Kind.FOREACH: "ForEach",
    Kind.ACCUMULATE: "Accumulate",
    Kind.EXTRACT: "Extractor",
    Kind.ACCUMULATE_BY_KEY: "AccumulateByKey",
    Kind.GROUP: "Reducer",
}


def _lines(step: Step) -> list[tuple[str, str, str]]:
    """The steps of the original that this one stands for: type, name and argument."""
    kind = step.kind
    if kind is Kind.VALUE:
        return [("map", "GetValueMapper", "")]
    if kind not in _CALLBACKS:
        return [(kind.value, kind.value, "")]
    line = (kind.value, f"{_CALLBACK}{_CALLBACKS[kind]}", _argument(step))
    if kind is Kind.FLATMAP:
        return [("map", *line[1:]), ("flatmap", "flatmap", "")]
    if kind is Kind.ACCUMULATE_BY_KEY:
        return [line, _TO_PYTHON]
    if kind is Kind.GROUP:
        return [("group", "group", ""), line, _TO_PYTHON]
    return [line]


def _argument(step: Step) -> str:
    if step.function is to_str:  # the original's lambda for convertToStr
        return f"<function GearsBuilder.run.<locals>.<lambda> at {id(to_str):#x}>"
    return repr(step.function)


def shown_plan(plan: Plan, durations: Durations | None = None) -> list[Any]:
    """The steps of a plan, from the last to the first, as flat lists of names and values; durations in ms."""
    lines = [(_TO_PYTHON, 0)]
    for step in plan:
        duration_ms = 0 if durations is None else int(durations.of(step) * 1000)
        lines += [(line, duration_ms if _CALLBACK in line[1] else 0) for line in _lines(step)]
    return [
        ["type", kind, "duration", duration_ms, "name", name, "arg", argument]
        for (kind, name, argument), duration_ms in reversed(lines)
    ]
