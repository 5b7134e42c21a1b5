"""DAGs of quick ops, done where their frames are read: what `quick` is for RUNs. A call of a script is a DAG
of one op.

All ops must be on one device, and each either a loaded model that is quick and joins no others, or a function
of a compiled script that is quick and goes straight to its end. They run one after the other, in the order in
which the frame gives them. Every other DAG goes the long way (graph), which also says what is wrong with one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter

from keymiss.backends import Array
from keymiss.channel import Channel, Frame, Tensor, encode, parse_tensors
from keymiss.errors import BackendError, ChannelError
from keymiss.inference.arrays import to_array, to_tensor
from keymiss.inference.batcher import DeviceQueue, error_text
from keymiss.inference.figures import Asked
from keymiss.inference.forward import rows_of, run_model
from keymiss.inference.frames import GraphParts, ModelParts, OpParts, ran_all
from keymiss.inference.loan import Loan
from keymiss.inference.operators import NO_HOST
from keymiss.inference.request import Outcome
from keymiss.inference.runs import Runner, failed, mismatch
from keymiss.inference.scripts import ScriptCall

_KIND, _TENSORS = 2, 4  # JOB <id> DAG <deadline_ms> <tensors>, then the ops, what is wanted, and <request>
_MOST_OPS = 16
_MAX_PLANS = 256
_LONGEST_PLAN = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class _Step:
    """An op, ready to be run on the tensors with the numbers `inputs`."""

    run: Callable[[Sequence[Array]], list[Array]]
    key: Hashable  # of what its queue knows of it
    asked: Asked
    inputs: Sequence[int]
    outputs: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is done with the tensors of a frame."""

    queue: DeviceQueue
    steps: Sequence[_Step]
    wanted: Sequence[int]

    @property
    def is_quick(self) -> bool:
        return all(self.queue.is_quick(step.key) for step in self.steps)


class QuickGraphs:
    """Those of one channel. The loop's thread only."""

    def __init__(self, channel: Channel, runner: Runner, loan: Loan) -> None:
        self._channel = channel
        self._runner = runner
        self._loan = loan
        self._plans: dict[tuple[int, tuple[bytes, ...]], _Plan] = {}

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
        plan = self._plans.get(said) or self._learn(frame, said)
        if plan is None or not plan.is_quick or not self._loan.take(plan.queue):
            return False
        known: list[Tensor | None] = [*tensors]
        outcomes = [_outcome(step, plan.queue, known) for step in plan.steps]
        answer = ran_all(outcomes, [known[n] for n in plan.wanted])
        with suppress(ChannelError):  # the shard is gone, and with it whoever waited
            self._channel.write(encode(b"DONE", frame[1], answer.reply, *answer.more))
        return True

    def _learn(self, frame: Frame, said: tuple[int, tuple[bytes, ...]]) -> _Plan | None:
        if sum(map(len, said[1])) > _LONGEST_PLAN:
            return None
        try:
            parts = GraphParts.parse(frame, _TENSORS)
            found = [self._step(op) for op in parts.ops[: _MOST_OPS + 1]]
        except (BackendError, ChannelError):
            return None
        ready = [step for step in found if step is not None]
        queues = {queue for queue, _ in ready}
        if len(ready) < len(found) or len(found) > _MOST_OPS or len(queues) != 1:
            return None
        plan = _Plan(queues.pop(), [step for _, step in ready], parts.wanted)
        if plan.is_quick:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            self._plans[said] = plan
        return plan

    def _step(self, op: OpParts) -> tuple[DeviceQueue, _Step] | None:
        """The op on its device. None where it is no quick one."""
        runner, outputs = self._runner, op.outputs
        if isinstance(op.what, ModelParts):
            device, label, key = op.what.identity.device, op.what.label, runner.key(op.what)
            model = runner.loaded(op.what)
            if model is None or op.what.rule.batchsize or mismatch(model, len(op.inputs), outputs):
                return None
        else:
            parts, call = op.what
            device, label, key = parts.device, parts.label, runner.script_key(parts, call)
            script = runner.worker.scripts.get(parts)
            if script is None or not script.is_straight(call.function):
                return None
            model = ScriptCall(script, call, NO_HOST)

        def run(arrays: Sequence[Array]) -> list[Array]:
            return run_model(model, arrays)

        return runner.worker.queue_of(device), _Step(
            run, key, runner.asked(label, device), op.inputs, outputs
        )


def _outcome(step: _Step, queue: DeviceQueue, known: list[Tensor | None]) -> Outcome | None:
    """What became of an op; None where it lacks an input. Its outputs are added to what is known."""
    tensors = [tensor for n in step.inputs if (tensor := known[n]) is not None]
    if len(tensors) < len(step.inputs):
        known += [None] * step.outputs
        return None
    began_s = perf_counter()
    try:
        outputs = list(map(to_tensor, step.run(list(map(to_array, tensors)))))
        used_s = perf_counter() - began_s
        outcome = Outcome(outputs, None, round(used_s * 1e6), 1, rows_of(tensors), 0)
        known += outputs
    except Exception as error:  # whatever an op does, the next frame is served
        used_s = perf_counter() - began_s
        outcome = failed(error_text(error))
        known += [None] * step.outputs
    queue.ran(step.key, 1, 1, used_s)
    step.asked.ran_alone(1, used_s, outcome.errors)
    return outcome
