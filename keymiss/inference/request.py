"""What waits for a device, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from keymiss.backends import Model
from keymiss.channel import Tensor
from keymiss.inference.figures import NOBODY, Asked
from keymiss.inference.policy import Rule


class Outcome(NamedTuple):
    """What became of a request: its outputs, or an error (code first), and what it adds to the counters of
    AI.INFO."""

    outputs: Sequence[Tensor]
    error: str | None
    duration_us: int
    calls: int
    samples: int
    errors: int


def refused(error: str) -> Outcome:
    """What became of a run that never came to its device: it counts nowhere. `error`: code first."""
    return Outcome((), error, duration_us=0, calls=0, samples=0, errors=0)


def failed(error: str) -> Outcome:
    """What became of a run that counts as a call that failed. `error`: code first."""
    return Outcome((), error, duration_us=0, calls=1, samples=0, errors=1)


@dataclass(eq=False, slots=True)
class Request:
    """Tensors for a model, and where its outcome goes. Requests of one `model_key` may be joined as `rule`
    allows."""

    model: Model
    model_key: Hashable
    rule: Rule
    tensors: Sequence[Tensor]
    deadline_s: float
    answer: Callable[[Outcome], object]  # called on a thread of the device
    abandoned: Callable[[], bool]  # nobody waits for it any more
    off_loop: bool = False  # it may wait for what the loop's thread reads, or take any time
    asked: Asked = NOBODY  # where it is counted
    came_s: float = 0.0  # when it was queued, if it was
    # Told the batch that it ran in, and when (time.monotonic) that began and ended: on that thread.
    seen: Callable[[Sequence[Request], float, float], object] | None = None
