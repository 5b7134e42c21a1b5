"""What a registration has not finished yet: how much that is, and since when the oldest of it waits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from keymiss.channel import Job
from keymiss.functions.job import COMMAND, FunctionJob
from keymiss.functions.registering import Arguments, TriggerArguments

_TRIGGER = b"RG.TRIGGER"
_LEAST_MS = 10**12  # of an entry's id that is a time: users may number entries as they like

Fired: TypeAlias = "tuple[bool, bytes]"  # by RG.TRIGGER of this name, or else the registration of this id


@dataclass(frozen=True, slots=True)
class Backlog:
    """`since_s` is of time.monotonic; None where nothing is late."""

    count: int = 0
    since_s: float | None = None


def fired_by(registration: str, arguments: Arguments) -> Fired:
    """What jobs of a registration have in common."""
    if isinstance(arguments, TriggerArguments):
        return True, arguments.trigger.encode()
    return False, registration.encode()


def backlogs(jobs: Iterable[Job]) -> dict[Fired, Backlog]:
    """Of the jobs that have not ended, oldest first. There may be tens of thousands."""
    fired = [
        (_fired(job), job.came_s)
        for job in jobs
        if isinstance(job, FunctionJob) and (job.kind != COMMAND or _is_trigger(job))
    ]
    counts = Counter(who for who, _ in fired)
    oldest = dict(reversed(fired))
    return {who: Backlog(count, oldest[who]) for who, count in counts.items()}


def _is_trigger(job: FunctionJob) -> bool:
    argv = job.argv
    return len(argv) > 1 and argv[0].upper() == _TRIGGER


def _fired(job: FunctionJob) -> Fired:
    return (True, job.argv[1]) if job.kind == COMMAND else (False, job.registration_id)


def age_s(entry: str) -> float:
    """How long ago an entry of a stream was added, by its id; 0 where that is not a time."""
    milliseconds = int(entry.partition("-")[0])
    return max(0.0, time.time() - milliseconds / 1000) if milliseconds >= _LEAST_MS else 0.0
