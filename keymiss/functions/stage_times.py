"""How long the stages of what functions do take: `with stage("forward"): ...`.

A mark adds to plain numbers of this process, which costs about a microsecond; whoever shows the numbers
reads `durations`. Where somebody traces the job that runs (KEYMISS.TRACE), its answer tells of the mark too.

Every thread may mark.
"""

from __future__ import annotations

from time import monotonic
from types import TracebackType

from keymiss.channel.stages import Stage
from keymiss.functions.context import current
from keymiss.metrics.histogram import Histogram

MAX_STAGES = 32  # names: functions may make up any, and each is a time series
OTHER = "other"  # what the names beyond are counted as


durations: dict[str, Histogram] = {}  # by stage


class stage:
    """`with stage(name):` times its block. It may await; one inside of another counts for both."""

    __slots__ = ("_began_s", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._began_s = monotonic()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        ended_s = monotonic()
        took_s = ended_s - self._began_s
        of_stage = durations.get(self._name) or _new(self._name)
        of_stage.add(took_s)
        job = current.get().job
        if job is not None and job.stages is not None:
            job.stages.append(Stage(self._name, self._began_s, ended_s))


def _new(name: str) -> Histogram:
    if not isinstance(name, str):
        raise TypeError(f"a stage is named by a text, not by {name!r}")
    if len(durations) >= MAX_STAGES:
        name = OTHER
    return durations.setdefault(name, Histogram())
