"""What KEYMISS.TRACE answers: one question, and how long each stage of it took. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .shards import text_of

COMMAND = "KEYMISS.TRACE"


@dataclass(frozen=True)
class TracedStage:
    """`began_us` counts from when the server saw the command; `depth` is how many stages it lies in. `facts`
    are numbers of it by name: of a model's pass the requests and rows in it, its tokens and padding."""

    name: str
    worker: str  # who measured it: module, functions or models
    began_us: int
    took_us: int
    depth: int = 0
    facts: dict[str, int] = field(default_factory=dict)

    @property
    def ended_us(self) -> int:
        return self.began_us + self.took_us


@dataclass(frozen=True)
class Trace:
    """`request` is what the logs call it. `answer` is None where there was none, `error` None where that was
    no error. `cached`: GET alone would not have asked the function."""

    request: str
    cached: bool
    answer: str | None
    error: str | None
    stages: Sequence[TracedStage]  # by when they began, those inside another one behind it

    @property
    def total_us(self) -> int:
        """In the server: from when it saw the command until it wrote the reply."""
        return max((stage.ended_us for stage in self.stages), default=0)


def read_trace(reply: Any) -> Trace:
    """The reply of KEYMISS.TRACE. ValueError where it is none."""
    try:
        told = dict(zip(map(text_of, reply[::2]), reply[1::2], strict=True))
        answer = told["answer"]
        failed = isinstance(answer, Exception)
        return Trace(
            request=text_of(told["request"]),
            cached=bool(told["cached"]),
            answer=None if failed or answer is None else text_of(answer),
            error=str(answer) if failed else None,
            stages=_nested(_stages(told["stages"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"this is no reply of {COMMAND}: {error}") from error


def _stages(groups: Any) -> Iterator[TracedStage]:
    """Of all who measured, by the clock of the host."""
    for worker, stages in groups:
        for name, began_us, ended_us, *facts in stages:
            named = dict(zip(map(text_of, facts[::2]), map(int, facts[1::2]), strict=True))
            yield TracedStage(text_of(name), text_of(worker), began_us, ended_us - began_us, facts=named)


def _nested(stages: Iterator[TracedStage]) -> list[TracedStage]:
    """From the first one's beginning, each with how many others it lies in."""
    # One that took no time comes before the one that begins then, which may follow it.
    ordered = sorted(stages, key=lambda stage: (stage.began_us, stage.took_us > 0, -stage.took_us))
    open_until: list[int] = []
    found = []
    for stage in ordered:
        while open_until and (open_until[-1] < stage.ended_us or open_until[-1] == stage.began_us):
            open_until.pop()
        began_us = stage.began_us - ordered[0].began_us
        depth = len(open_until)
        found.append(TracedStage(stage.name, stage.worker, began_us, stage.took_us, depth, stage.facts))
        open_until.append(stage.ended_us)
    return found
