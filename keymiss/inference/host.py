"""What a script that runs reaches: its shard, and the models of this process.

Called on the script's thread, which has its device; each wait lends it (see asking).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

from keymiss.backends import Array, Device, Model
from keymiss.channel import Job
from keymiss.errors import ScriptError
from keymiss.inference.arrays import to_array, to_tensor
from keymiss.inference.asking import fail, settle, understood
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.forward import run_model
from keymiss.inference.frames import ModelParts
from keymiss.inference.policy import Rule
from keymiss.inference.request import Outcome
from keymiss.inference.runs import Run, Runner, mismatch

T = TypeVar("T")


class ScriptHost:
    """Serves the operators of one call of a script (operators.Host), which an op of `job` is."""

    def __init__(self, runner: Runner, job: Job, queue: DeviceQueue, device: Device) -> None:
        self._runner, self._job, self._queue, self._device = runner, job, queue, device

    def execute(self, argv: Sequence[bytes]) -> Any:
        return understood(self._ask("CALL", *argv, then=settle))

    def model_execute(self, key: bytes, inputs: Sequence[Array], outputs: int) -> Sequence[Array]:
        """A model on the script's own device runs at once, on this thread; one on another device in its
        queue. Neither waits for others to fill a batch, and neither counts for AI.INFO of the model."""

        def find(answer: Future[Model | Outcome], reply: bytes) -> None:
            understood(reply)  # which may be an error
            parts = ModelParts.parse([reply], 0)
            if parts.identity.device == self._device:
                self._runner.with_model(parts, partial(settle, answer), partial(fail, answer))
                return
            run = Run(
                self._job.deadline, lambda: self._job.finished or answer.done(), partial(settle, answer)
            )
            tensors = [to_tensor(array) for array in inputs]
            self._runner.model(parts._replace(rule=Rule()), outputs, tensors, run)

        found: Model | Outcome = self._ask("MODEL", key, then=find)
        if isinstance(found, Model):
            if wrong := mismatch(found, len(inputs), outputs):
                raise ScriptError(wrong)
            return run_model(found, inputs)
        if found.error is not None:
            raise ScriptError(found.error.removeprefix("ERR "))
        return [to_array(tensor) for tensor in found.outputs]

    def watching(self, stop: Callable[[], object]) -> AbstractContextManager[None]:
        return self._runner.asker.watching(self._job, stop)

    def _ask(self, verb: str, *parts: bytes, then: Callable[[Future[T], bytes], object]) -> T:
        return self._runner.asker.ask(self._job, self._queue, verb, *parts, then=then)
