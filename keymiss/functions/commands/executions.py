"""Commands on executions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError
from keymiss.functions import replies
from keymiss.functions.builder import to_str
from keymiss.functions.commands.nested import nested
from keymiss.functions.executions import RUNNING, Execution
from keymiss.functions.job import FunctionJob
from keymiss.functions.steps import Kind, Step

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

NO_PLAN = "execution plan does not exist"


def dump(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.DUMPEXECUTIONS: the executions that are kept."""
    return nested(
        [
            ["executionId", execution.id, "status", execution.status, "registered", int(execution.registered)]
            for execution in gears.executions
        ]
    )


def get(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes | None:
    """RG.GETEXECUTION id [SHARD | CLUSTER]: how far an execution is, on this shard or on all."""
    execution = _execution(gears, arguments[0], NO_PLAN)
    word = arguments[1].decode("utf-8", "replace").upper() if len(arguments) > 1 else ""
    if word not in ("", "SHARD", "CLUSTER"):
        raise GearsError("unknown subcommand")
    if word == "CLUSTER" and not gears.shard.is_cluster:
        raise GearsError("no cluster detected - use `RG.GETEXECUTION <id> [SHARD]` instead")
    mine = shown(gears.shard.node, execution)
    if word == "SHARD" or not gears.shard.is_cluster:
        return nested([mine])
    gears.spread.ask_status(execution.id, lambda others: job.done(nested([mine, *others])))
    return None


def results(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.GETRESULTS id: [results, errors] of an execution that has ended."""
    execution = _execution(gears, arguments[0], NO_PLAN)
    if execution.status == RUNNING:
        raise GearsError("execution is still running")
    return execution.reply()


def results_when_done(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes | None:
    """RG.GETRESULTSBLOCKING id: as RG.GETRESULTS, once the execution has ended."""
    execution = _execution(gears, arguments[0], NO_PLAN)
    if execution.running and (job.in_multi or job.sync):
        raise GearsError("execution is still running")
    execution.when_done(lambda ended: job.done(ended.reply()))
    return None


def abort(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.ABORTEXECUTION id"""
    _execution(gears, arguments[0], "execution does not exist").cancel()
    return replies.OK


def drop(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.DROPEXECUTION id: forget it, stopping it where it runs."""
    gears.executions.drop(_execution(gears, arguments[0], NO_PLAN))
    return replies.OK


def _execution(gears: Gears, name: bytes, refusal: str) -> Execution:
    execution = gears.executions.get(name.decode("utf-8", "replace"))
    if execution is None:
        raise GearsError(refusal)
    return execution


def shown(node: str, execution: Execution) -> list[Any]:
    """What RG.GETEXECUTION tells of an execution on one shard. Steps are listed from the last to the first."""
    steps = [line for step in execution.plan for line in _lines(step)]
    first = ("map", "RedisGearsPy_ToPyRecordMapper", "")
    return [
        *("shard_id", node, "execution_plan"),
        [
            *("status", execution.status),
            *("shards_received", execution.shards_received, "shards_completed", execution.shards_completed),
            *("results", -1 if execution.running else len(execution.results), "errors", list(execution.errors)),
            *("total_duration", int(execution.duration_s * 1000), "read_duration", 0),
            "steps",
            [
                ["type", kind, "duration", 0, "name", name, "arg", argument]
                for kind, name, argument in reversed([first, *steps])
            ],
        ],
    ]


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


