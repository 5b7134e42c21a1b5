"""Commands on executions.

An execution is held by the shard that started it, whose id its own begins with. What is asked of another one
is passed on to that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from keymiss.errors import GearsError, KeymissError
from keymiss.functions import replies
from keymiss.functions.commands.arguments import as_str
from keymiss.functions.commands.nested import nested
from keymiss.functions.context import Context
from keymiss.functions.executions import Execution
from keymiss.functions.job import FunctionJob

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

NO_PLAN = "execution plan does not exist"
NO_EXECUTION = "execution does not exist"
STILL_RUNNING = "execution is still running"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5  # until another shard is asked again for results

# What is done with an execution on the shard that holds it; the reply, or None where it is to be asked again.
Act = Callable[["Gears", Execution], bytes | None]


def dump(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.DUMPEXECUTIONS: the executions that are kept, whichever shard started them."""
    return nested(
        [
            ["executionId", execution.id, "status", execution.status, "registered", int(execution.registered)]
            for execution in [*gears.executions, *gears.spread.of_others()]
        ]
    )


def get(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes:
    """RG.GETEXECUTION id [SHARD | CLUSTER]: how far an execution is, on this shard or on all."""
    name = as_str(arguments[0])
    execution = gears.executions.get(name) or gears.spread.execution(name)
    if execution is None:
        raise GearsError(NO_PLAN)
    cluster = gears.shard.is_cluster
    word = arguments[1].upper() if len(arguments) > 1 else b"CLUSTER" if cluster else b"SHARD"
    if word not in (b"SHARD", b"CLUSTER"):
        raise GearsError("unknown subcommand")
    if word == b"CLUSTER" and not cluster:
        raise GearsError("no cluster detected - use `RG.GETEXECUTION <id> [SHARD]` instead")
    mine = execution.shown(gears.shard.node)
    return nested([mine] if word == b"SHARD" else [mine, *gears.spread.shown_by_others(execution.id)])


def results(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes | None:
    """RG.GETRESULTS id: [results, errors] of an execution that has ended."""
    return _do(gears, job, "results", arguments[0])


def results_when_done(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes | None:
    """RG.GETRESULTSBLOCKING id: as RG.GETRESULTS, once the execution has ended."""
    execution = gears.executions.get(as_str(arguments[0]))
    if execution is None or not execution.running or job.in_multi or job.sync:
        return _do(gears, job, "results if done", arguments[0])
    execution.when_done(lambda ended: job.done(ended.reply()))
    return None


def abort(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes | None:
    """RG.ABORTEXECUTION id: stop it, on all shards."""
    return _do(gears, job, "abort", arguments[0])


def drop(gears: Gears, job: FunctionJob, arguments: list[bytes]) -> bytes | None:
    """RG.DROPEXECUTION id: forget it. One that runs is to be aborted first."""
    return _do(gears, job, "drop", arguments[0])


def _results(gears: Gears, execution: Execution) -> bytes:
    if execution.running:
        raise GearsError(STILL_RUNNING)
    return execution.reply()


def _results_if_done(gears: Gears, execution: Execution) -> bytes | None:
    return None if execution.running else execution.reply()


def _abort(gears: Gears, execution: Execution) -> bytes:
    gears.shard.on_loop(execution.cancel)
    return replies.OK


def _drop(gears: Gears, execution: Execution) -> bytes:
    if execution.running:
        raise GearsError("ERR the execution is still running: abort it with RG.ABORTEXECUTION first")
    gears.executions.drop(execution)
    return replies.OK


_ACTS: dict[str, tuple[Act, str]] = {  # and how it is refused where there is no such execution
    "results": (_results, NO_PLAN),
    "results if done": (_results_if_done, NO_PLAN),
    "abort": (_abort, NO_EXECUTION),
    "drop": (_drop, NO_PLAN),
}


def _do(gears: Gears, job: FunctionJob, act: str, argument: bytes) -> bytes | None:
    """Do it here, or have it done by the shard that holds the execution."""
    name = as_str(argument)
    holder = name.rpartition("-")[0]
    elsewhere = gears.shard.is_cluster and holder != gears.shard.node and gears.executions.get(name) is None
    if not elsewhere or job.in_multi or job.sync:  # while the server waits, no other shard can be asked
        reply = act_here(gears, act, name)
        return replies.error(STILL_RUNNING) if reply is None else reply
    if act == "drop":
        gears.spread.forget(name)
    _ask_holder(gears, job, act, name, holder, _FIRST_PAUSE_S)
    return None


def act_here(gears: Gears, act: str, name: str) -> bytes | None:
    """Do it with an execution that is held here, for this shard or another; refusals are replies too."""
    do, refusal = _ACTS[act]
    execution = gears.executions.get(name)
    try:
        return replies.error(refusal) if execution is None else do(gears, execution)
    except GearsError as error:
        return replies.error(str(error))


def _ask_holder(gears: Gears, job: FunctionJob, act: str, name: str, holder: str, pause_s: float) -> None:
    def ask() -> None:
        if holder not in gears.peers.others():
            job.done(replies.error(_ACTS[act][1]))
            return
        answers, errors = gears.peers.ask("execution.act", act, name, nodes=[holder])
        if errors:
            job.fail(f"ERR shard {holder}, which started the execution: {errors[holder]}")
        elif answers[holder] is not None:
            job.done(answers[holder])
        elif not job.finished:
            longer_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            again = partial(_ask_holder, gears, job, act, name, holder, longer_s)
            gears.shard.call_soon(gears.shard.loop.call_later, pause_s, again)

    try:
        gears.in_background(ask, Context(job))
    except KeymissError as error:  # too much waits already
        job.fail(str(error))
