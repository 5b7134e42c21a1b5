"""DAGs of quick ops, done where their frames are read: what `quick` is for RUNs. A call of a script is a DAG
of one op.

All ops must be on one device, and each either a loaded model that is quick and joins no others, or a function
of a compiled script that is quick and goes straight to its end. They run one after the other, in the order in
which the frame gives them. Every other DAG goes the long way (graph), which also says what is wrong with one.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter

from keymiss.backends import Device, Model
from keymiss.channel import Channel, Frame, Tensor, done_frame, parse_tensors
from keymiss.errors import BackendError, ChannelError
from keymiss.inference.arrays import to_array, to_tensor
from keymiss.inference.batcher import DeviceQueue, error_text
from keymiss.inference.figures import Asked
from keymiss.inference.forward import rows_of, run_model
from keymiss.inference.frames import Call, GraphParts, ModelParts, OpParts, ScriptParts, ran_all
from keymiss.inference.loan import Loan
from keymiss.inference.operators import NO_HOST
from keymiss.inference.request import Outcome, failed
from keymiss.inference.runs import Runner, mismatch
from keymiss.inference.scripts import ScriptCall

_KIND, _TENSORS = 2, 4  # JOB <id> DAG <deadline_ms> <tensors>, then the ops, what is wanted, and <request>
_MOST_OPS = 16
_MAX_PLANS = 256
_LONGEST_PLAN = 1 << 16  # bytes

_Said = tuple[int, tuple[bytes, ...]]  # how many tensors, and what a frame says is done with them


class _NotYet(Exception):
    """A model is not loaded, or a script not compiled: the long way does that."""


@dataclass(frozen=True, slots=True)
class _Step:
    """An op, ready to be run on the tensors with the numbers `inputs`."""

    queue: DeviceQueue
    model: Model
    key: Hashable  # of what the queue knows of it
    asked: Asked
    inputs: Sequence[int]
    outputs: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is done with the tensors of a frame. All steps have one queue."""

    steps: Sequence[_Step]
    wanted: Sequence[int]

    @property
    def queue(self) -> DeviceQueue:
        return self.steps[0].queue

    @property
    def is_quick(self) -> bool:
        return all(step.queue.is_quick(step.key) for step in self.steps)


class QuickGraphs:
    """Those of one channel. The loop's thread only."""

    def __init__(self, channel: Channel, runner: Runner, loan: Loan) -> None:
        self._channel = channel
        self._runner = runner
        self._loan = loan
        self._plans: dict[_Said, _Plan | None] = {}  # None: this is never quick

    def forget(self) -> None:
        """A model may have been unloaded."""
        self._plans.clear()

    def run(self, frame: Frame) -> bool:
        """Run it and answer. False, and nothing done, where it is for the long way, as other jobs are."""
        if len(frame) <= _TENSORS or frame[_KIND] != b"DAG":
            return False
        try:
            tensors, at = parse_tensors(frame, _TENSORS)
        except ChannelError:
            return False
        said = len(tensors), tuple(frame[at:-1])
        plan = self._plans[said] if said in self._plans else self._learn(frame, said)
        if plan is None or not plan.is_quick or not self._loan.take(plan.queue):
            return False
        known: list[Tensor | None] = [*tensors]
        outcomes = [_outcome(step, known) for step in plan.steps]
        answer = ran_all(outcomes, [known[n] for n in plan.wanted])
        with suppress(ChannelError):  # the shard is gone, and with it whoever waited
            self._channel.write(done_frame(self._channel, frame[1], answer.reply, *answer.more))
        return True

    def _learn(self, frame: Frame, said: _Said) -> _Plan | None:
        if sum(map(len, said[1])) > _LONGEST_PLAN:
            return None
        try:
            plan = self._plan(GraphParts.parse(frame, _TENSORS))
        except (BackendError, ChannelError, _NotYet):
            return None
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        self._plans[said] = plan
        return plan

    def _plan(self, parts: GraphParts) -> _Plan | None:
        """What is to be done, where nothing but its time speaks against it. _NotYet."""
        steps: list[_Step] = []
        for op in parts.ops[: _MOST_OPS + 1]:
            if isinstance(op.what, ModelParts):
                step = self._model_step(op, op.what)
            else:
                step = self._script_step(op, *op.what)
            if step is None or (steps and step.queue is not steps[0].queue):
                return None
            steps.append(step)
        return _Plan(steps, parts.wanted) if 0 < len(steps) <= _MOST_OPS else None

    def _model_step(self, op: OpParts, parts: ModelParts) -> _Step | None:
        model = self._runner.loaded(parts)
        if model is None:
            raise _NotYet
        if parts.rule.batchsize or mismatch(model, len(op.inputs), op.outputs):
            return None
        return self._step(op, model, parts.identity.device, parts.label, self._runner.key(parts))

    def _script_step(self, op: OpParts, parts: ScriptParts, call: Call) -> _Step | None:
        script = self._runner.worker.scripts.get(parts)
        if script is None:
            raise _NotYet
        if not script.is_straight(call.function):
            return None
        called = ScriptCall(script, call, NO_HOST)
        return self._step(op, called, parts.device, parts.label, self._runner.script_key(parts, call))

    def _step(self, op: OpParts, model: Model, device: Device, label: str, key: Hashable) -> _Step:
        queue = self._runner.worker.queue_of(device)
        return _Step(queue, model, key, self._runner.asked(label, device), op.inputs, op.outputs)


def _outcome(step: _Step, known: list[Tensor | None]) -> Outcome | None:
    """What became of an op; None where it lacks an input. Its outputs are added to what is known."""
    tensors = [tensor for n in step.inputs if (tensor := known[n]) is not None]
    if len(tensors) < len(step.inputs):
        known += [None] * step.outputs
        return None
    began_s = perf_counter()
    try:
        outputs = list(map(to_tensor, run_model(step.model, list(map(to_array, tensors)))))
        used_s = perf_counter() - began_s
        outcome = Outcome(outputs, None, round(used_s * 1e6), 1, rows_of(tensors), 0)
        known += outputs
    except Exception as error:  # whatever an op does, the next frame is served
        used_s = perf_counter() - began_s
        outcome = failed(error_text(error))
        known += [None] * step.outputs
    step.queue.ran(step.key, 1, 1, used_s)
    step.asked.ran_alone(1, used_s, outcome.errors)
    return outcome
