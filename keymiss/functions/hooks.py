"""`call_next` of commands that were taken over with `register(hook=...)`.

Hooks of one command lie on each other: the one registered last gets the client's command, its `call_next`
runs the one below, and that of the lowest the command itself. What lies below is what did when the run began:
the hook that runs may be replaced or removed meanwhile, and what took its place is not below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keymiss.errors import GearsError, GearsFlatError
from keymiss.functions import replies
from keymiss.functions.context import Context, current
from keymiss.functions.executions import Execution, result_reply
from keymiss.functions.job import FunctionJob
from keymiss.functions.moving import moving_slot
from keymiss.functions.readers import RecordsSource
from keymiss.functions.records import NOT_LOCAL
from keymiss.functions.registering import HookArguments

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears
    from keymiss.functions.registrations import Registration

# As the server says of commands that need more of a moving slot: clients of clusters try again by themselves.
TRY_AGAIN = "TRYAGAIN the function that takes over this command cannot reach its keys while their slot moves"
ONE_RESULT = "Command hook must return exactly one result"


def hook_reply(execution: Execution) -> bytes:
    """What a client of a hooked command gets: the one result, or the first error."""
    if execution.errors:
        return replies.error(execution.errors[0])
    if len(execution.results) != 1:
        return replies.error(ONE_RESULT)
    return result_reply(execution.results[0])


class CallNext:
    """`call_next` of one run of a hook; `below` are the registrations that came before that."""

    def __init__(self, gears: Gears, job: FunctionJob, below: Sequence[Registration], command: str) -> None:
        self._gears = gears
        self._job = job
        self._below = below
        self._command = command

    def __call__(self, *arguments: Any) -> Any:
        at = self._next(arguments)
        if at is None:
            try:
                return self._gears.shard.execute(self._command, *arguments)
            except GearsError as error:
                if NOT_LOCAL in str(error) and moving_slot(self._gears.shard, arguments) is not None:
                    raise GearsFlatError(TRY_AGAIN) from None
                raise
        below = self._below[at]
        context = Context(
            self._job,
            session=below.session,
            call_next=CallNext(self._gears, self._job, self._below[:at], self._command),
            outer=current.get(),
        )
        record = [self._command, *(replies.text(replies.argument(argument)) for argument in arguments)]
        execution = Execution(self._gears.executions.next_id(), below.plan, registered=True, context=context)
        self._gears.executions.run_at_once(execution, RecordsSource((record,)))
        return replies.from_resp(hook_reply(execution))

    def _next(self, arguments: tuple[Any, ...]) -> int | None:
        """Which is the uppermost below that hooks this command, if its keys are these."""
        for at in reversed(range(len(self._below))):
            hooked = self._below[at].arguments
            if isinstance(hooked, HookArguments) and hooked.takes(self._command, arguments):
                return at
        return None
