"""RG.* commands: what each is, and who serves it.

A handler takes the arguments behind the command's name and returns the reply as RESP2; one that answers later
takes the job and returns None. Handlers run on the loop's thread; those marked `blocking` run in the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from keymiss.errors import KeymissError
from keymiss.functions import replies
from keymiss.functions.commands import (
    configuration,
    executions,
    information,
    registrations,
    requirements,
    scripts,
)
from keymiss.functions.context import Context, current
from keymiss.functions.job import FunctionJob

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears

MANY = 1 << 20


@dataclass(frozen=True, slots=True)
class Command:
    """`least` and `most`: how many arguments it takes. `blocking`: it waits for the server, so it is run in
    the pool.
    """

    handler: Callable[[Gears, FunctionJob, list[bytes]], bytes | None]
    least: int = 0
    most: int = MANY
    blocking: bool = False


_TABLE = {
    "rg.pyexecute": Command(scripts.pyexecute, 1),
    "rg.trigger": Command(registrations.trigger, 1),
    "rg.triggeronkey": Command(registrations.trigger, 2),
    "rg.dumpregistrations": Command(registrations.dump),
    "rg.unregister": Command(registrations.unregister, 1, 2, blocking=True),
    "rg.pauseregistrations": Command(registrations.pause, 1, 1, blocking=True),
    "rg.unpauseregistrations": Command(registrations.unpause, 1, 1, blocking=True),
    "rg.clearregistrationsstats": Command(registrations.clear_numbers, 0, 0),
    "rg.pydumpsessions": Command(registrations.dump_sessions),
    "rg.pydumpreqs": Command(registrations.dump_requirements),
    "rg.pyexportreq": Command(requirements.export, 1, 1, blocking=True),
    "rg.pyimportreq": Command(requirements.import_, 1, blocking=True),
    "rg.dumpexecutions": Command(executions.dump),
    "rg.getexecution": Command(executions.get, 1, 2, blocking=True),
    "rg.getresults": Command(executions.results, 1),
    "rg.getresultsblocking": Command(executions.results_when_done, 1, 1),
    "rg.abortexecution": Command(executions.abort, 1, 1),
    "rg.dropexecution": Command(executions.drop, 1, 1),
    "rg.configget": Command(configuration.get, 1),
    "rg.configset": Command(configuration.set_, 1),
    "rg.pystats": Command(information.statistics),
    "rg.pyprofile": Command(information.profile, 1, 3),
    "rg.dumpplugins": Command(information.plugins),
    "rg.infocluster": Command(information.cluster, blocking=True),
    "rg.refreshcluster": Command(information.refresh_cluster, blocking=True),
}


class Commands:
    """Serves the RG.* commands of one shard."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        gears.peers.answer("execution.act", partial(executions.act_here, gears))

    def run(self, job: FunctionJob) -> None:
        """Answer the job, now or later: while registrations are restored, when they are."""
        if self._gears.registrations.restoring and not job.sync:
            self._gears.registrations.when_restored(lambda: self._run_kept(job))
            return
        argv = job.argv
        name = argv[0].decode("utf-8", "replace").lower()
        command = _TABLE.get(name)
        if command is None:
            job.fail(f"ERR unknown command '{name}'")
        elif not command.least <= len(argv) - 1 <= command.most:
            job.fail(f"ERR wrong number of arguments for '{name}' command")
        elif not command.blocking:
            self._answer(command, job, argv)
        elif not job.sync:
            self._gears.in_background(lambda: self._answer(command, job, argv), Context(job))
        else:  # the server serves the commands of this job, and no others
            token = current.set(Context(job))
            self._answer(command, job, argv)
            current.reset(token)

    def _run_kept(self, job: FunctionJob) -> None:
        """One whose client has given up meanwhile is left out; one that fails holds up none behind it."""
        if job.finished:
            return
        try:
            self.run(job)
        except KeymissError as error:
            job.fail(f"ERR {error}")

    def _answer(self, command: Command, job: FunctionJob, argv: list[bytes]) -> None:
        try:
            reply: Any = command.handler(self._gears, job, argv[1:])
        except KeymissError as error:
            reply = replies.error(str(error))
        if reply is not None:
            job.done(reply)
