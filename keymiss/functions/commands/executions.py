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
    word = arguments[1].decode("utf-8", "replace").upper() if len(arguments) > 1 else ""
    if word not in ("", "SHARD", "CLUSTER"):
        raise GearsError("unknown subcommand")
    if word == "CLUSTER" and not gears.shard.is_cluster:
        raise GearsError("no cluster detected - use `RG.GETEXECUTION <id> [SHARD]` instead")
    mine = execution.shown(gears.shard.node)
    here_only = word == "SHARD" or not gears.shard.is_cluster
    return nested([mine] if here_only else [mine, *gears.spread.shown_by_others(execution.id)])


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
