"""What a traced RUN tells of itself: how long it waited for its device, and the pass that it was in."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from keymiss.channel import Job
from keymiss.channel.stages import Stage, stages_part
from keymiss.inference.forward import rows_of
from keymiss.inference.frames import Answer
from keymiss.inference.padding import axes_of, tokens_of
from keymiss.inference.request import Request

TRACED = b"c"  # behind the number in <request>


class Trace:
    """Of one RUN, from its frame to its answer."""

    def __init__(self) -> None:
        self._came_s = monotonic()
        self._stages: tuple[Stage, ...] = ()

    def seen(self, batch: Sequence[Request], began_s: float, ended_s: float) -> None:
        """It ran in this batch. On the thread that ran it, before it is answered."""
        model = batch[0].model
        lengths = [(tokens_of(model, one.tensors), rows_of(one.tensors)) for one in batch]
        rows, tokens = sum(rows for _, rows in lengths), sum(tokens * rows for tokens, rows in lengths)
        facts: tuple[tuple[str, int], ...] = (("requests", len(batch)), ("rows", rows))
        if tokens:
            width = axes_of(model).width(max(tokens for tokens, _ in lengths), model.length_step)
            facts += (("tokens", tokens), ("padding", rows * width - tokens))
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
