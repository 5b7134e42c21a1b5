"""What a traced RUN tells of itself: how long it waited for its device, and the pass that it was in."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from keymiss.channel import Job
from keymiss.channel.stages import Stage, stages_part
from keymiss.inference.forward import size_of
from keymiss.inference.frames import Answer
from keymiss.inference.request import Request

TRACED = b"c"  # behind the number in <request>


class Trace:
    """Of one RUN, from its frame to its answer."""

    def __init__(self) -> None:
        self._came_s = monotonic()
        self._stages: tuple[Stage, ...] = ()

    def seen(self, batch: Sequence[Request], began_s: float, ended_s: float) -> None:
        """It ran in this batch. On the thread that ran it, before it is answered."""
        size = size_of(batch[0].model, [one.tensors for one in batch])
        facts: tuple[tuple[str, int], ...] = (("requests", len(batch)), ("rows", size.rows))
        if size.tokens:
            facts += (("tokens", size.tokens), ("padding", size.padding))
        self._stages = (
            Stage("model queue", self._came_s, began_s),
            Stage("model pass", began_s, ended_s, facts),
        )

    def told_with(self, answer: Answer) -> Answer:
        """The answer, and the stages behind it."""
        return answer._replace(more=(*answer.more, stages_part(self._stages)))


def trace_of(job: Job) -> Trace | None:
    """A new one where the stages of this RUN are asked for."""
    return Trace() if job.parts[-1].endswith(TRACED) else None
