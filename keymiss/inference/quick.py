"""RUNs of quick models, done where their frames are read.

What a tiny model costs is not its forward pass but what is made around it: a job, a request, a turn of a
queue, two threads. A RUN of a loaded model that is quick and runs alone needs none of that: the loop's thread
borrows the device until it has handled what it read, runs it, and answers. Everything else goes the long way
(runs, batcher), which also says what is wrong with a RUN.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

from keymiss.backends import Array
from keymiss.channel import Channel, Frame, element, encode
from keymiss.errors import BackendError, ChannelError
from keymiss.inference.arrays import array_of_parts, encoded
from keymiss.inference.batcher import LONGEST_S, DeviceQueue, error_text
from keymiss.inference.figures import Asked
from keymiss.inference.forward import check_outputs
from keymiss.inference.frames import ModelParts, error_reply
from keymiss.inference.runs import Runner
from keymiss.inference.tracing import TRACED

_KIND, _MODEL, _COUNTS, _TENSORS = (
    2,
    4,
    5,
    7,
)  # JOB <id> RUN <deadline_ms> <model> <outputs> <n>, then the inputs and <request>
_MAX_LANES = 1024


@dataclass(slots=True)
class _Lane:
    """A quick model, and what a right RUN of it looks like."""

    run: Callable[[Sequence[Array]], list[Array]]
    key: Hashable  # of what its queue knows of it
    queue: DeviceQueue
    outputs: int
    counts: list[bytes]  # how many outputs and inputs the frame says
    inputs: range  # where in the frame they are
    asked: Asked
    runs: int = 0  # since the device was borrowed
    errors: int = 0  # of these
    used_s: float = 0.0  # by these


class QuickRuns:
    """Those of one channel. The loop's thread only."""

    def __init__(self, channel: Channel, runner: Runner) -> None:
        self._channel = channel
        self._runner = runner
        self._lanes: dict[bytes, _Lane] = {}
        self._borrowed: DeviceQueue | None = None
        self._until_s = 0.0  # it may be used
        self._used: list[_Lane] = []  # since then

    def forget(self) -> None:
        """A model may have been unloaded."""
        self._lanes.clear()

    def run(self, frame: Frame) -> bool:
        """Run it and answer. False, and nothing done, where it is for the long way, as other jobs are."""
        if len(frame) <= _TENSORS or frame[_KIND] != b"RUN":
            return False
        lane = self._lanes.get(frame[_MODEL]) or self._learn(frame[_MODEL])
        if lane is None or len(frame) != lane.inputs.stop + 1 or frame[_COUNTS:_TENSORS] != lane.counts:
            return False
        if frame[-1].endswith(TRACED):
            return False
        queue = lane.queue
        began_s = perf_counter()
        has_device = queue is self._borrowed and began_s < self._until_s and not queue.is_wanted
        if not has_device and not self._borrow(queue, began_s):
            return False
        try:
            arrays = [array_of_parts(frame[at], frame[at + 1], frame[at + 2]) for at in lane.inputs]
        except ValueError:
            return False
        try:
            outputs = lane.run(arrays)
            ended_s = perf_counter()
            if len(outputs) != lane.outputs:
                check_outputs(outputs, lane.outputs)
            samples = len(arrays[0]) if arrays and arrays[0].ndim else 1
            answer = _done(frame[1], ended_s - began_s, samples, outputs)
        except Exception as error:  # whatever a model does, the next one is served
            ended_s = perf_counter()
            lane.errors += 1
            answer = encode(b"DONE", frame[1], error_reply(error_text(error)), 0, 1, 0, 1, 0)
        if not lane.runs:
            self._used.append(lane)
        lane.runs += 1
        lane.used_s += ended_s - began_s
        with suppress(ChannelError):  # the shard is gone, and with it whoever waited
            self._channel.write(answer)
        return True

    def _learn(self, said: bytes) -> _Lane | None:
        """The lane of a model that may have one."""
        try:
            parts = ModelParts.parse([said], 0)
            queue = self._runner.worker.queue_of(parts.identity.device)
        except (BackendError, ChannelError):
            return None
        model, key = self._runner.loaded(parts), self._runner.key(parts)
        if model is None or parts.rule.batchsize or not queue.is_quick(key):
            return None
        if len(self._lanes) >= _MAX_LANES:
            self._lanes.clear()
        inputs, outputs = len(model.inputs), len(model.outputs)
        counts = [b"%d" % outputs, b"%d" % inputs]
        asked = self._runner.asked(parts.label, parts.identity.device)
        lane = _Lane(model.run, key, queue, outputs, counts, range(_TENSORS, _TENSORS + 3 * inputs, 3), asked)
        self._lanes[said] = lane
        return lane

    def _borrow(self, queue: DeviceQueue, now_s: float) -> bool:
        """Take the device for as long as this thread handles what it has read. False where it cannot be had,
        or was had for long enough."""
        if self._borrowed is not None or not queue.borrow():
            return False
        self._borrowed, self._until_s = queue, now_s + LONGEST_S
        self._runner.worker.loop.call_soon(self._give_back)
        return True

    def _give_back(self) -> None:
        for lane in self._used:
            if not lane.queue.ran(lane.key, lane.runs, lane.used_s):
                self.forget()
            lane.asked.ran_alone(lane.runs, lane.used_s, lane.errors)
            lane.runs, lane.errors, lane.used_s = 0, 0, 0.0
        self._used.clear()
        if self._borrowed is not None:
            self._borrowed.give_back()
            self._borrowed = None


def _done(job_id: bytes, used_s: float, samples: int, outputs: Sequence[Array]) -> bytes:
    """DONE of a RUN that went well."""
    duration_us = b"%d" % (used_s * 1e6)
    head = b"*%d\r\n$4\r\nDONE\r\n$%d\r\n%b\r\n$5\r\n+OK\r\n\r\n$%d\r\n%b\r\n%b"
    numbers = _numbers(samples, len(outputs))
    return b"".join(
        [
            head % (8 + 3 * len(outputs), len(job_id), job_id, len(duration_us), duration_us, numbers),
            *map(encoded, outputs),
        ]
    )


@lru_cache(maxsize=1024)
def _numbers(samples: int, outputs: int) -> bytes:
    """<calls> <samples> <errors> <n>"""
    return b"".join(element(b"%d" % number) for number in (1, samples, 0, outputs))
