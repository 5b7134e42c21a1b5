"""Commands on executions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keymiss.errors import GearsError
from keymiss.functions import replies
from keymiss.functions.commands.nested import nested
from keymiss.functions.executions import RUNNING, Execution
from keymiss.functions.job import FunctionJob

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


def get(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.GETEXECUTION id [SHARD | CLUSTER]: how far an execution is, on this shard or on all."""
    execution = _execution(gears, arguments[0], NO_PLAN)
    cluster = gears.shard.is_cluster
    word = arguments[1].upper() if len(arguments) > 1 else b"CLUSTER" if cluster else b"SHARD"
    if word not in (b"SHARD", b"CLUSTER"):
        raise GearsError("unknown subcommand")
    if word == b"CLUSTER" and not cluster:
        raise GearsError("no cluster detected - use `RG.GETEXECUTION <id> [SHARD]` instead")
    mine = execution.shown(gears.shard.node)
    return nested([mine] if word == b"SHARD" else [mine, *gears.spread.shown_by_others(execution.id)])


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
    """RG.DROPEXECUTION id: forget it. One that runs is to be aborted first."""
    execution = _execution(gears, arguments[0], NO_PLAN)
    if execution.running:
        raise GearsError("ERR the execution is still running: abort it with RG.ABORTEXECUTION first")
    gears.executions.drop(execution)
    return replies.OK


def _execution(gears: Gears, name: bytes, refusal: str) -> Execution:
    execution = gears.executions.get(name.decode("utf-8", "replace"))
    if execution is None:
        raise GearsError(refusal)
    return execution
