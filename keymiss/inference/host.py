"""What a script that runs reaches: its shard, and the models of this process.

Called on the script's thread, which has its device; each wait lends it (see asking).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from keymiss.backends import Array, Device
from keymiss.channel import Job
from keymiss.errors import ChannelError, ScriptError
from keymiss.inference.arrays import to_array, to_tensor
from keymiss.inference.batcher import DeviceQueue, Outcome
from keymiss.inference.forward import run_model
from keymiss.inference.frames import ModelParts
from keymiss.inference.policy import Rule
from keymiss.inference.runs import Run, Runner, mismatch


class ScriptHost:
    """Serves the operators of one call of a script (operators.Host), which an op of `job` is."""

    def __init__(self, runner: Runner, job: Job, queue: DeviceQueue, device: Device) -> None:
        self._runner, self._job, self._queue, self._device = runner, job, queue, device

    def execute(self, argv: Sequence[bytes]) -> Any:
        return self._runner.asker.ask(self._job, self._queue, "CALL", *argv)

    def model_execute(self, key: bytes, inputs: Sequence[Array], outputs: int) -> Sequence[Array]:
        """A model on the script's own device runs at once, on this thread; one on another device in its
        queue. Neither waits for others to fill a batch, and neither counts for AI.INFO of the model."""
        reply = self._runner.asker.ask(self._job, self._queue, "MODEL", key)
        try:
            parts, _ = ModelParts.parse([b"%d" % x if isinstance(x, int) else bytes(x) for x in reply], 0)
        except (ChannelError, TypeError) as error:
            raise ScriptError(f"malformed answer to MODEL: {error}") from None
        if parts.identity.device != self._device:
            return self._run_elsewhere(parts, inputs, outputs)
        worker, wait = self._runner.worker, self._runner.asker.wait
        load = worker.store.load(parts.identity, parts.path, self._runner.owner)
        model = wait(self._job, self._queue, asyncio.run_coroutine_threadsafe(load, worker.loop))
        if wrong := mismatch(model, len(inputs), outputs):
            raise ScriptError(wrong)
        return run_model(model, inputs)

    def _run_elsewhere(self, parts: ModelParts, inputs: Sequence[Array], outputs: int) -> Sequence[Array]:
        ended: Future[Outcome] = Future()

        def answer(outcome: Outcome) -> None:
            if ended.set_running_or_notify_cancel():
                ended.set_result(outcome)

        run = Run(self._job.deadline, lambda: self._job.finished or ended.cancelled(), answer)
        tensors = [to_tensor(array) for array in inputs]
        self._runner.worker.loop.call_soon_threadsafe(
            self._runner.model, parts._replace(rule=Rule()), outputs, tensors, run
        )
        outcome = self._runner.asker.wait(self._job, self._queue, ended)
        if outcome.error is not None:
            raise ScriptError(outcome.error.removeprefix("ERR "))
        return [to_array(tensor) for tensor in outcome.outputs]
