"""Functions that fire themselves: they write a key whose events fire them, for as long as they do.

1. An event says which job's command has caused it. If that was an event, too, both are of one *chain*: so
   each knows how often its registration and key have come up among those that led to it.
2. One that has come up `keymiss.max-refires` times is not run: its chain ends there, and with it the loop.
   Functions may also fire each other in turn, or do so on several keys: of each chain the last _LINKS
   different registrations and keys are counted.
3. What is written by no job is caused by nobody: by a thread of a function's own, by `run` inside a function,
   on another shard. Streams are read at their readers' own pace, and are left out.

All on the loop's thread.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from keymiss.functions.executions import DONE
from keymiss.functions.job import EVENT, FunctionJob

if TYPE_CHECKING:
    from keymiss.functions.gears import Gears
    from keymiss.functions.registrations import Registration

DEFAULT_MAX_REFIRES = 1000
AGAIN_S = 0.01
_LINKS = 16
_CAUSES = 10_000  # events that are remembered, to see what they cause

Link = tuple[str, bytes]  # a registration and a key
Chain = dict[Link, int]  # how often they have come up; the one that came last is last


class Refires:
    """Stands before the registrations of one shard."""

    def __init__(self, gears: Gears) -> None:
        self._gears = gears
        self._chains: OrderedDict[int, Chain] = OrderedDict()  # by the event's job

    def fire(self, job: FunctionJob) -> None:
        """MISS, EVENT and HOOKED: give it to its registration, unless that fires itself without end."""
        if job.kind == EVENT:
            most = self._gears.shard.setting("max-refires", DEFAULT_MAX_REFIRES)
            link = job.registration, job.key
            chain = followed(self._chains.get(job.cause), link)
            if most and chain[link] > most and self._refused(job, most):
                return
            self._chains[job.id] = chain
            if len(self._chains) > _CAUSES:
                self._chains.popitem(last=False)
        self._gears.registrations.fire(job)

    def _refused(self, job: FunctionJob, most: int) -> bool:
        registration = self._gears.registrations.get(job.registration)
        if registration is None or registration.stream is not None:
            return False
        key = job.key.decode("utf-8", "replace")
        error = (
            f"the function writes what fires it: it has run {most} times in a row for the key {key!r} "
            "and is not run again (keymiss.max-refires)"
        )
        self._gears.shard.log(f"registration {registration.id}: {error}", "warning")
        registration.numbers.triggered += 1
        job.done(b"")
        self._note(job, registration, error)
        return True

    def _note(self, job: FunctionJob, registration: Registration, error: str) -> None:
        """Behind the run that caused it, so that this is the registration's last error."""
        if job.cause_runs:
            self._gears.shard.loop.call_later(AGAIN_S, self._note, job, registration, error)
        else:
            self._gears.shard.loop.call_soon(registration.numbers.add, DONE, error, 0.0)


def followed(before: Chain | None, link: Link) -> Chain:
    """The chain with one more event."""
    chain = {} if before is None else dict(before)
    chain[link] = chain.pop(link, 0) + 1
    if len(chain) > _LINKS:
        del chain[next(iter(chain))]
    return chain
