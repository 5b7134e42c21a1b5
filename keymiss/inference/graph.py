"""A DAG: its ops run as soon as their inputs are made, side by side as far as their devices allow.

Model ops stand in the queue of their device like any request, so they join batches with others'. An op that
fails takes those with it that need its outputs; the others run. Everything here is for the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from keymiss.channel import Job, Tensor
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.frames import Answer, GraphParts, ModelParts, ran_all
from keymiss.inference.host import ScriptHost
from keymiss.inference.request import Outcome
from keymiss.inference.runs import Run, Runner


class Graph:
    """The run of one DAG. `done` is called once, with the answer, when the last op has ended."""

    def __init__(self, parts: GraphParts, job: Job, runner: Runner, done: Callable[[Answer], object]) -> None:
        self._parts, self._job, self._runner, self._done = parts, job, runner, done
        self._tensors: list[Tensor | None] = list(parts.tensors)
        self._outcomes: list[Outcome | None] = [None] * len(parts.ops)
        self._left = len(parts.ops)  # ops that have not ended
        self._running: dict[int, Run] = {}
        self._first_output: list[int] = []
        self._needed_by: list[list[int]] = [[] for _ in parts.ops]
        self._lacks: list[int] = []  # how many ops each one waits for
        maker: list[int | None] = [None] * len(parts.tensors)  # the op that makes each tensor
        for n, op in enumerate(parts.ops):
            needs = {found for i in op.inputs if (found := maker[i]) is not None}
            for needed in needs:
                self._needed_by[needed].append(n)
            self._lacks.append(len(needs))
            self._first_output.append(len(maker))
            maker += [n] * op.outputs
        self._tensors += [None] * (len(maker) - len(parts.tensors))

    def start(self) -> None:
        """Begin with the ops that need nothing of the others."""
        ready = [n for n, lacks in enumerate(self._lacks) if not lacks]
        for n in ready:
            self._start(n)
        if not self._left:
            self._finish()

    def cancel(self) -> None:
        """Nobody waits for it any more: what waits in a queue is taken out, and nothing more is begun."""
        for run in self._running.values():
            if run.cancel is not None:
                run.cancel()
        self._running.clear()

    def _start(self, n: int) -> None:
        op, job = self._parts.ops[n], self._job
        tensors = [tensor for i in op.inputs if (tensor := self._tensors[i]) is not None]

        def answer(outcome: Outcome) -> None:
            self._runner.worker.soon(self._ended, n, outcome)

        run = self._running[n] = Run(job.deadline, lambda: job.finished, answer)
        if isinstance(op.what, ModelParts):
            self._runner.model(op.what, op.outputs, tensors, run)
            return
        script, call = op.what

        def host_on(queue: DeviceQueue) -> ScriptHost:
            return ScriptHost(self._runner, job, queue, script.device)

        self._runner.script(script, call, tensors, host_on, run)

    def _ended(self, n: int, outcome: Outcome) -> None:
        if self._job.finished:
            return
        del self._running[n]
        self._outcomes[n] = outcome
        self._left -= 1
        if outcome.error is None:
            first = self._first_output[n]
            self._tensors[first : first + len(outcome.outputs)] = outcome.outputs
            for dependent in self._needed_by[n]:
                self._lacks[dependent] -= 1
                if not self._lacks[dependent]:
                    self._start(dependent)
        else:
            self._give_up_on(n)
        if not self._left:
            self._finish()

    def _give_up_on(self, failed: int) -> None:
        """What needs the outputs of this op, directly or not, is never begun."""
        last = [failed]
        while last:
            for dependent in self._needed_by[last.pop()]:
                if self._lacks[dependent] > 0:
                    self._lacks[dependent] = -1  # never 0 again
                    self._left -= 1
                    last.append(dependent)

    def _finish(self) -> None:
        self._done(ran_all(self._outcomes, [self._tensors[n] for n in self._parts.wanted]))
