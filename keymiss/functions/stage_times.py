"""How long the stages of what functions do take: `with stage("forward"): ...`.

A mark adds to plain numbers of this process, which costs well under a microsecond; whoever shows the numbers
reads `durations`. Where somebody traces the job that runs (KEYMISS.TRACE), its answer tells of the mark too.

Every thread may mark. The GIL makes each addition whole: CPython switches threads at calls and at the ends of
loops only, and there is none in between.
"""

from __future__ import annotations

from bisect import bisect_left
from time import monotonic
from types import TracebackType

from keymiss.functions.context import current

# The upper ends of the buckets, in seconds, as of all histograms of Keymiss; one more is for what is longer.
BOUNDS_S = (
    *(50e-6, 100e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3),
    *(1.0, 2.5, 10.0),
)
MAX_STAGES = 32  # names: functions may make up any, and each is a time series
OTHER = "other"  # what the names beyond are counted as


class Durations:
    """Of one stage. `buckets[n]` counts those of at most BOUNDS_S[n] seconds that fit no smaller one."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    @property
    def count(self) -> int:
        return sum(self.buckets)


durations: dict[str, Durations] = {}  # by stage


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
        of_stage.sum_s += took_s
        of_stage.buckets[bisect_left(BOUNDS_S, took_s)] += 1
        job = current.get().job
        if job is not None and job.stages is not None:
            job.stages.append((self._name, self._began_s, ended_s))


def _new(name: str) -> Durations:
    if len(durations) >= MAX_STAGES:
        name = OTHER
    return durations.setdefault(name, Durations())
