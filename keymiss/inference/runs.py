"""Runs: a model or a script on tensors, in the queue of its device. What RUN and the ops of a DAG share.

Everything here runs on the loop's thread; a run's `answer` is called there or on a device's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from keymiss.backends import Device, Model
from keymiss.channel import Tensor
from keymiss.errors import BackendError
from keymiss.inference.asking import Asker
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.figures import Asked
from keymiss.inference.frames import Call, ModelParts, ScriptParts
from keymiss.inference.operators import Host
from keymiss.inference.policy import Rule
from keymiss.inference.request import Outcome, Request, failed, refused
from keymiss.inference.scripts import Script, ScriptCall

if TYPE_CHECKING:
    from keymiss.inference.worker import ShardChannel, Worker

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Run:
    """What waits for the outputs of one model or script. `cancel` is set while a queue holds it."""

    deadline_s: float
    abandoned: Callable[[], bool]  # nobody waits for it any more
    answer: Callable[[Outcome], object]  # called once at most
    seen: Callable[[Sequence[Request], float, float], object] | None = None  # see Request
    cancel: Callable[[], object] | None = None


class Runner:
    """Starts the runs of one channel."""

    def __init__(self, worker: Worker, owner: ShardChannel, asker: Asker) -> None:
        self.worker = worker
        self.owner = owner
        self.asker = asker
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """The channel has ended."""
        for task in self._tasks:
            task.cancel()

    def key(self, parts: ModelParts) -> Hashable:
        """What runs of one model have in common."""
        # A model that is stored anew over the same key is another one to those who wait for a batch to fill.
        return parts.identity, parts.rule, self.worker.loads.get(parts.identity, 0)

    @staticmethod
    def script_key(parts: ScriptParts, call: Call) -> Hashable:
        """What calls of one function have in common."""
        return "script", parts.digest, parts.device, call.function

    def asked(self, label: str, device: Device) -> Asked:
        """Where its requests for a model or a script are counted."""
        return self.worker.figures.asked(label, device, self.owner.shard)

    def loaded(self, parts: ModelParts) -> Model | None:
        """The model, held for this channel, where it is loaded."""
        return self.worker.store.get(parts.identity, self.owner)

    def model(self, parts: ModelParts, outputs: int, tensors: Sequence[Tensor], run: Run) -> None:
        """Run a model, joined with other requests as its rule allows."""
        key = self.key(parts)

        def submit(model: Model) -> None:
            if wrong := mismatch(model, len(tensors), outputs):
                run.answer(refused(wrong))
            elif not run.abandoned():
                queue = self.worker.queue_of(parts.identity.device)
                request = Request(
                    model,
                    key,
                    parts.rule,
                    tensors,
                    run.deadline_s,
                    run.answer,
                    run.abandoned,
                    seen=run.seen,
                    asked=self.asked(parts.label, parts.identity.device),
                )
                run.cancel = lambda: queue.cancel(request)
                queue.submit(request)

        self.with_model(parts, submit, lambda error: run.answer(refused(error.reply)))

    def script(
        self,
        parts: ScriptParts,
        call: Call,
        tensors: Sequence[Tensor],
        host_on: Callable[[DeviceQueue], Host],
        run: Run,
    ) -> None:
        """Call a function of a script, served by the host that `host_on` gives for its device's queue."""

        def submit(script: Script) -> None:
            if run.abandoned():
                return
            queue = self.worker.queue_of(parts.device)
            called = ScriptCall(script, call, host_on(queue))
            request = Request(
                called,
                self.script_key(parts, call),
                Rule(),
                tensors,
                run.deadline_s,
                run.answer,
                run.abandoned,
                off_loop=not script.is_straight(call.function),
                asked=self.asked(parts.label, parts.device),
            )
            run.cancel = lambda: queue.cancel(request)
            queue.submit(request)

        self.with_script(parts, submit, lambda error: run.answer(failed(error.reply)))

    def with_model(
        self, parts: ModelParts, ready: Callable[[Model], object], fail: Callable[[BackendError], object]
    ) -> None:
        """Call `ready` with the model, at once where it is loaded."""
        store = self.worker.store

        def load() -> Coroutine[Any, Any, Model]:
            self.worker.labels[parts.identity] = parts.label
            return store.load(parts.identity, parts.path, self.owner)

        self._with(self.loaded(parts), load, ready, fail)

    def with_script(
        self, parts: ScriptParts, ready: Callable[[Script], object], fail: Callable[[BackendError], object]
    ) -> None:
        """Call `ready` with the script, at once where it is compiled."""
        scripts = self.worker.scripts
        self._with(scripts.get(parts), lambda: scripts.compile(parts), ready, fail)

    def _with(
        self,
        there: T | None,
        make: Callable[[], Coroutine[Any, Any, T]],
        ready: Callable[[T], object],
        fail: Callable[[BackendError], object],
    ) -> None:
        """Call `ready` with what is there, or else has been made."""

        async def wait() -> None:
            try:
                ready(await make())
            except BackendError as error:
                fail(error)

        if there is None:
            task = self.worker.loop.create_task(wait())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        try:
            ready(there)
        except BackendError as error:
            fail(error)


def mismatch(model: Model, inputs: int, outputs: int) -> str | None:
    """What is wrong with these numbers of tensors for that model."""
    if inputs != len(model.inputs):
        return "Number of keys given as INPUTS here does not match model definition"
    if outputs != len(model.outputs):
        return "Number of keys given as OUTPUTS here does not match model definition"
    return None
