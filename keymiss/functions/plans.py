"""Plans as RG.GETEXECUTION shows them: the steps of the original that each step stands for."""

from __future__ import annotations

from typing import Any

from keymiss.functions.builder import to_str
from keymiss.functions.steps import Kind, Plan, Step

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
    line = (kind.value, f"RedisGearsPy_PyCallback{_CALLBACKS[kind]}", _argument(step))
    if kind is Kind.FLATMAP:
        return [("map", *line[1:]), ("flatmap", "flatmap", "")]
    if kind is Kind.ACCUMULATE_BY_KEY:
        return [line, ("map", "RedisGearsPy_ToPyRecordMapper", "")]
    if kind is Kind.GROUP:
        return [("group", "group", ""), line, ("map", "RedisGearsPy_ToPyRecordMapper", "")]
    return [line]


def _argument(step: Step) -> str:
    if step.function is to_str:  # the original's lambda for convertToStr
        return f"<function GearsBuilder.run.<locals>.<lambda> at {id(to_str):#x}>"
    return repr(step.function)


def shown_plan(plan: Plan) -> list[Any]:
    """The steps of a plan, from the last to the first, as flat lists of names and values."""
    steps = [("map", "RedisGearsPy_ToPyRecordMapper", ""), *(line for step in plan for line in _lines(step))]
    return [
        ["type", kind, "duration", 0, "name", name, "arg", argument]
        for kind, name, argument in reversed(steps)
    ]
