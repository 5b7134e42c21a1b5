"""Runs: a model or a script on tensors, in the queue of its device. What RUN and the ops of a DAG share.

Everything here runs on the loop's thread; a run's `answer` is called there or on a device's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keymiss.backends import Model
from keymiss.channel import Tensor
from keymiss.errors import BackendError
from keymiss.inference.batcher import Outcome, Request
from keymiss.inference.frames import ModelParts

if TYPE_CHECKING:
    from keymiss.inference.worker import ShardChannel, Worker


@dataclass(eq=False)
class Run:
    """What waits for the outputs of one model or script. `cancel` is set while a queue holds it."""

    deadline_s: float
    abandoned: Callable[[], bool]  # nobody waits for it any more
    answer: Callable[[Outcome], object]  # called once at most
    cancel: Callable[[], object] | None = None


class Runner:
    """Starts the runs of one channel."""

    def __init__(self, worker: Worker, owner: ShardChannel) -> None:
        self._worker = worker
        self._owner = owner
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """The channel has ended."""
        for task in self._tasks:
            task.cancel()

    def model(self, parts: ModelParts, outputs: int, tensors: Sequence[Tensor], run: Run) -> None:
        """Run a model, joined with other requests as its rule allows."""
        # A model that is stored anew over the same key is another one to those who wait for a batch to fill.
        key = (parts.identity, parts.rule, self._worker.loads[parts.identity])

        def submit(model: Model) -> None:
            if run.abandoned():
                return
            if len(tensors) != len(model.inputs):
                run.answer(refused("Number of keys given as INPUTS here does not match model definition"))
            elif outputs != len(model.outputs):
                run.answer(refused("Number of keys given as OUTPUTS here does not match model definition"))
            else:
                queue = self._worker.queue_of(parts.identity.device)
                request = Request(model, key, parts.rule, tensors, run.deadline_s, run.answer, run.abandoned)
                run.cancel = lambda: queue.cancel(request)
                queue.submit(request)

        self.with_model(parts, submit, lambda error: run.answer(refused(f"ERR {error}")))

    def with_model(
        self, parts: ModelParts, ready: Callable[[Model], object], failed: Callable[[BackendError], object]
    ) -> None:
        """Call `ready` with the model, at once where it is loaded."""
        model = self._worker.store.get(parts.identity, self._owner)
        if model is not None:
            ready(model)
            return

        async def load() -> None:
            try:
                loaded = await self._worker.store.load(parts.identity, parts.path, self._owner)
            except BackendError as error:
                failed(error)
            else:
                ready(loaded)

        task = self._worker.loop.create_task(load())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def refused(error: str) -> Outcome:
    """What became of a run that never came to its device: it counts nowhere. `error`: code first."""
    return Outcome((), error, duration_us=0, calls=0, samples=0, errors=0)
