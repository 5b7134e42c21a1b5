"""RUNs of quick models, done where their frames are read.

What a tiny model costs is not its forward pass but what is made around it: a job, a request, a turn of a
queue, two threads. A RUN of a loaded model that is quick and waits for no others needs none of that: the
loop's thread borrows the device until it has handled what it read, runs it, and answers. RUNs of one model
and form that come behind each other share even the call: in one pass where the model has a batch size, else
each in a pass of its own, but Python is left once for all of them. That is the short way; everything else
goes the long one (runs, batcher), which also says what is wrong with a RUN.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

from keymiss.backends import Array, Model
from keymiss.channel import Channel, Frame, element, encode, error_reply
from keymiss.errors import BackendError, ChannelError, ModelError
from keymiss.inference.arrays import all_encoded, array_of_all, array_of_parts, encoded, layout_of
from keymiss.inference.batcher import DeviceQueue, error_text
from keymiss.inference.figures import Asked, count_pass
from keymiss.inference.forward import check_outputs, check_rows
from keymiss.inference.frames import ModelParts
from keymiss.inference.loan import Loan
from keymiss.inference.padding import takes_sequences
from keymiss.inference.runs import Runner
from keymiss.inference.tracing import TRACED

# JOB <id> RUN <deadline_ms> <model> <outputs> <n>, then the inputs and <request>
_KIND, _MODEL, _COUNTS, _TENSORS = 2, 4, 5, 7
_MAX_WAYS = 1024
_MOST_TOGETHER = 16  # passes at one call: the server has answers to work with meanwhile


@dataclass(eq=False, slots=True)
class _ShortWay:
    """Of a quick model: what a right RUN of it looks like, and what its RUNs come to."""

    model: Model
    batchsize: int  # rows that a pass may have
    key: Hashable  # of what its queue knows of it
    queue: DeviceQueue
    outputs: int
    counts: list[bytes]  # how many outputs and inputs the frame says
    inputs: range  # where in the frame they are
    asked: Asked
    alone: bool = False  # no two of its RUNs at one call
    passes: int = 0  # of one RUN each, since the device was borrowed
    errors: int = 0  # of these
    used_s: float = 0.0  # by these

    def most(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """How many RUNs with inputs of these shapes there may be at one call."""
        if self.alone or not shapes:
            return 1
        if not self.batchsize:
            return _MOST_TOGETHER if self.model.runs_each else 1
        rows = shapes[0][0] if shapes[0] else 0
        joinable = rows > 0 and all(shape[:1] == (rows,) for shape in shapes)
        return max(self.batchsize // rows, 1) if joinable else 1


class _Bundle:
    """RUNs of one model, whose tensors are of the same dtypes and shapes."""

    __slots__ = ("_dtypes", "_length", "_model", "_shapes", "_sizes", "frames", "most", "way")

    def __init__(self, way: _ShortWay, first: Frame) -> None:
        """ValueError where the first one's tensors are malformed, or strings."""
        self.way = way
        self.frames = [first]
        self._length = len(first)
        self._model = first[_MODEL:_TENSORS]
        self._dtypes, self._shapes = first[_TENSORS:-1:3], first[_TENSORS + 1 : -1 : 3]
        layouts = list(map(layout_of, self._dtypes, self._shapes))
        self._sizes = [size for _, _, size in layouts]
        self.most = way.most([shape for _, shape, _ in layouts])
        if not self._fits(first):
            raise ValueError("the data does not fit the shape")

    def add(self, frame: Frame) -> bool:
        """False where it is of another kind."""
        takes = (
            len(frame) == self._length
            and frame[_KIND] == b"RUN"
            and frame[_MODEL:_TENSORS] == self._model
            and frame[_TENSORS:-1:3] == self._dtypes
            and frame[_TENSORS + 1 : -1 : 3] == self._shapes
            and self._fits(frame)
            and not frame[-1].endswith(TRACED)
        )
        if takes:
            self.frames.append(frame)
        return takes

    def _fits(self, frame: Frame) -> bool:
        return list(map(len, frame[_TENSORS + 2 : -1 : 3])) == self._sizes

    def run(self) -> list[bytes]:
        """The answers of all of several. Whatever is raised: nothing was done."""
        way, frames, count = self.way, self.frames, len(self.frames)
        data = ([frame[at] for frame in frames] for at in range(_TENSORS + 2, self._length - 1, 3))
        inputs = list(map(array_of_all, self._dtypes, self._shapes, data))
        began_s = perf_counter()
        outputs = _joined(way.model, inputs) if way.batchsize else way.model.run_each(inputs)
        used_s = perf_counter() - began_s
        check_outputs(outputs, way.outputs)
        tensors = map(b"".join, zip(*map(all_encoded, outputs), strict=True))
        samples = _samples(inputs[0][0])
        if way.batchsize:  # it is one call and takes its time once: the first says so
            said = [_said(used_s, 1, samples, way.outputs)]
            said += [_said(0.0, 0, samples, way.outputs)] * (count - 1)
            way.queue.ran(way.key, 1, count, used_s)
            count_pass([way.asked] * count, used_s, 0, 0, failed=False)
        else:
            said = [_said(used_s / count, 1, samples, way.outputs)] * count
            way.passes += count
            way.used_s += used_s
        parts = zip(frames, said, tensors, strict=True)
        return [_done(frame[1], head, data) for frame, head, data in parts]


class QuickRuns:
    """Those of one channel. The loop's thread only."""

    def __init__(
        self,
        channel: Channel,
        runner: Runner,
        loan: Loan,
        on_error: Callable[[Frame, bytes, float], object],
    ) -> None:
        """`on_error` is told the frame of a RUN that failed, the error, and how long it took (seconds)."""
        self._channel, self._runner, self._loan = channel, runner, loan
        self._on_error = on_error
        self._ways: dict[bytes, _ShortWay] = {}
        self._bundle: _Bundle | None = None  # to be run
        self._used: list[_ShortWay] = []  # since the device was borrowed
        loan.at_end.append(self._account)

    def forget(self) -> None:
        """A model may have been unloaded."""
        self._ways.clear()

    def run(self, frame: Frame) -> bool:
        """Run it, with those behind it or at `settle`, and answer. False, and nothing done, where it is for
        the long way, as other jobs are."""
        bundle = self._bundle
        if bundle is not None:
            if bundle.add(frame):
                if len(bundle.frames) >= bundle.most:
                    self.settle()
                    self._channel.flush()
                return True
            self.settle()
        if len(frame) <= _TENSORS or frame[_KIND] != b"RUN":
            return False
        way = self._ways.get(frame[_MODEL]) or self._learn(frame[_MODEL])
        if way is None or len(frame) != way.inputs.stop + 1 or frame[_COUNTS:_TENSORS] != way.counts:
            return False
        if frame[-1].endswith(TRACED):
            return False
        try:
            bundle = _Bundle(way, frame)
        except ValueError:
            return False
        if not self._loan.take(way.queue):
            return False
        self._bundle = bundle
        if bundle.most == 1:
            self.settle()
        return True

    def settle(self) -> None:
        """Run those that were kept for others to come, and answer them."""
        bundle, self._bundle = self._bundle, None
        if bundle is None:
            return
        way, frames = bundle.way, bundle.frames
        if way not in self._used:
            self._used.append(way)
        answers: list[bytes] = []
        if len(frames) > 1:
            try:
                answers = bundle.run()
                if self._channel.too_large(len(answers[0]), 0):  # the others are as long
                    answers = []
            except Exception:  # one of them fails, or gives what others do not: each by itself will tell
                way.alone = True
        answers = answers or [self._run_alone(way, frame) for frame in frames]
        with suppress(ChannelError):  # the shard is gone, and with it whoever waited
            self._channel.write(b"".join(answers))

    def _run_alone(self, way: _ShortWay, frame: Frame) -> bytes:
        """The answer of one that is known to be right."""
        began_s = perf_counter()
        try:
            arrays = [array_of_parts(frame[at], frame[at + 1], frame[at + 2]) for at in way.inputs]
            outputs = way.model.run(arrays)
            used_s = perf_counter() - began_s
            check_outputs(outputs, way.outputs)
            samples = _samples(arrays[0]) if arrays else 1
            answer = _done(frame[1], _said(used_s, 1, samples, way.outputs), b"".join(map(encoded, outputs)))
            if wrong := self._channel.too_large(len(answer), len(outputs)):
                raise ModelError(f"the answer is too large: it has {wrong}")
        except Exception as error:  # whatever a model does, the next one is served
            used_s = perf_counter() - began_s
            way.errors += 1
            reply = error_reply(error_text(error))
            answer = encode(b"DONE", frame[1], reply, 0, 1, 0, 1, 0)
            self._on_error(frame, reply, used_s)
        way.passes += 1
        way.used_s += used_s
        return answer

    def _learn(self, said: bytes) -> _ShortWay | None:
        """The short way of a model that may have one."""
        try:
            parts = ModelParts.parse([said], 0)
            queue = self._runner.worker.queue_of(parts.identity.device)
        except (BackendError, ChannelError):
            return None
        model, key, rule = self._runner.loaded(parts), self._runner.key(parts), parts.rule
        if model is None or not queue.is_quick(key):
            return None
        if rule.batchsize and (rule.minbatchsize > 1 or takes_sequences(model)):
            return None
        if len(self._ways) >= _MAX_WAYS:
            self._ways.clear()
        inputs, outputs = len(model.inputs), len(model.outputs)
        counts = [b"%d" % outputs, b"%d" % inputs]
        asked = self._runner.asked(parts.label, parts.identity.device)
        places = range(_TENSORS, _TENSORS + 3 * inputs, 3)
        way = _ShortWay(model, rule.batchsize, key, queue, outputs, counts, places, asked)
        self._ways[said] = way
        return way

    def _account(self) -> None:
        """The device is given back."""
        for way in self._used:
            if way.passes:
                way.queue.ran(way.key, way.passes, way.passes, way.used_s)
                way.asked.ran_alone(way.passes, way.used_s, way.errors)
                way.passes, way.errors, way.used_s = 0, 0, 0.0
            if not way.queue.is_quick(way.key):
                self.forget()
        self._used.clear()


def _joined(model: Model, inputs: Sequence[Array]) -> list[Array]:
    """One pass over the rows of several RUNs; `inputs` and what it gives have an axis for these. ModelError
    where a RUN's own rows cannot be told in what came out."""
    count, rows = inputs[0].shape[:2]
    outputs = model.run([array.reshape(count * rows, *array.shape[2:]) for array in inputs])
    check_rows(outputs, count * rows)
    return [output.reshape(count, rows, *output.shape[1:]) for output in outputs]


def _samples(first: Array) -> int:
    """Those of a pass, by its first input."""
    return len(first) if first.ndim else 1


def _said(used_s: float, calls: int, samples: int, outputs: int) -> tuple[bytes, bytes]:
    """What DONE of a RUN that went well says before and behind the job's id, but for its tensors."""
    duration_us = b"%d" % (used_s * 1e6)
    numbers = _numbers(calls, samples, outputs)
    behind = b"$5\r\n+OK\r\n\r\n$%d\r\n%b\r\n%b" % (len(duration_us), duration_us, numbers)
    return b"*%d\r\n$4\r\nDONE\r\n" % (8 + 3 * outputs), behind


def _done(job_id: bytes, said: tuple[bytes, bytes], tensors: bytes) -> bytes:
    return b"%b$%d\r\n%b\r\n%b%b" % (said[0], len(job_id), job_id, said[1], tensors)


@lru_cache(maxsize=1024)
def _numbers(calls: int, samples: int, outputs: int) -> bytes:
    """<calls> <samples> <errors> <n>"""
    return b"".join(element(b"%d" % number) for number in (calls, samples, 0, outputs))
