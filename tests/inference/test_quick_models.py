"""Models that are done before they could be handed over run on the thread that brings their requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from inference.lent import Lent
from inference.shard import Ran, Shard, StoredModel, floats
from inference.small_models import onnx_linear, onnx_loop
from support.waiting import wait_until

from keymiss.backends import Array, Backends, Device, Model
from keymiss.channel import NEVER, Frame, Tensor, encode, parse_tensors, tensor_parts
from keymiss.errors import ModelError
from keymiss.inference import batcher
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.loan import Loan
from keymiss.inference.policy import Rule
from keymiss.inference.quick import QuickRuns
from keymiss.inference.request import Outcome, Request

ALONE = Rule()
Make = Callable[..., StoredModel]
X = floats(1, 3, values=[1, 2, 3])
OK = b"+OK\r\n"
ONE = Tensor.from_values("FLOAT", (1, 1), [1.0])
SLOW_S = 0.05
DEADLINE_S = 20.0


class Noting(Model):
    """Notes the threads on which it runs. It computes for `busy_s`, and does not compute for `idle_s`."""

    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("y",)
    weight_bytes = mapped_bytes = 0

    def __init__(self, busy_s: float = 0.0, idle_s: float = 0.0) -> None:
        self.busy_s, self.idle_s = busy_s, idle_s
        self.threads: list[int] = []

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        self.threads.append(threading.get_ident())
        time.sleep(self.idle_s)
        until = time.thread_time() + self.busy_s
        while time.thread_time() < until:
            pass
        return list(tensors)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick model of these tests may lose its core for a while."""
    monkeypatch.setattr(batcher, "_QUICK_S", 0.1 * SLOW_S - 0.001)


@pytest.fixture
def queue() -> DeviceQueue:
    return DeviceQueue("CPU")


def _run(
    queue: DeviceQueue,
    model: Noting,
    rule: Rule = ALONE,
    off_loop: bool = False,
    then: Callable[[], object] = lambda: None,
) -> Outcome:
    """Its outcome, once the device has nothing more to do."""
    outcomes: SimpleQueue[Outcome] = SimpleQueue()

    def answer(outcome: Outcome) -> None:
        then()
        outcomes.put(outcome)

    wait_until(lambda: queue._idle, DEADLINE_S, "the device is idle")
    queue.submit(Request(model, model, rule, [ONE], NEVER, answer, lambda: False, off_loop))
    return outcomes.get(timeout=DEADLINE_S)


def test_a_quick_model_runs_where_its_requests_come_once_it_is_known_to_be_quick(queue: DeviceQueue) -> None:
    model = Noting()
    for _ in range(3):
        assert _run(queue, model).error is None
    here = threading.get_ident()
    assert [thread == here for thread in model.threads] == [False, True, True]


@pytest.mark.parametrize("slow", [Noting(busy_s=SLOW_S), Noting(idle_s=SLOW_S)], ids=["computing", "waiting"])
def test_a_slow_model_never_does(queue: DeviceQueue, slow: Noting) -> None:
    for _ in range(3):
        _run(queue, slow)
    assert threading.get_ident() not in slow.threads


def test_a_model_that_becomes_slow_goes_back_to_the_device(queue: DeviceQueue) -> None:
    model = Noting()
    for _ in range(2):
        _run(queue, model)
    model.busy_s = SLOW_S
    for _ in range(2):
        _run(queue, model)
    here = threading.get_ident()
    assert [thread == here for thread in model.threads] == [False, True, True, False]


@pytest.mark.parametrize(
    ("rule", "off_loop"), [(Rule(batchsize=4), False), (Rule(), True)], ids=["batches", "off loop"]
)
def test_what_may_be_joined_or_may_wait_never_does(queue: DeviceQueue, rule: Rule, off_loop: bool) -> None:
    model = Noting()
    for _ in range(3):
        _run(queue, model, rule, off_loop)
    assert threading.get_ident() not in model.threads


class TestAlone:
    """A short pass beside which nobody comes is run where its request came, too."""

    @pytest.fixture
    def queue(self, monkeypatch: pytest.MonkeyPatch) -> DeviceQueue:
        monkeypatch.setattr(batcher, "LONGEST_S", 100 * SLOW_S)
        queue = DeviceQueue("CPU")
        queue.is_only = True
        return queue

    def _here(self, queue: DeviceQueue, rule: Rule = ALONE, is_straight: bool = True) -> list[bool]:
        model, here = Noting(busy_s=SLOW_S), threading.get_ident()
        model.is_straight = is_straight
        for _ in range(4):
            assert _run(queue, model, rule).error is None
        return [thread == here for thread in model.threads]

    @pytest.mark.parametrize("rule", [ALONE, Rule(batchsize=4)], ids=["alone", "batches"])
    def test_once_its_cost_is_known(
        self, queue: DeviceQueue, monkeypatch: pytest.MonkeyPatch, rule: Rule
    ) -> None:
        monkeypatch.setattr(batcher, "_AT_ONCE_S", 0.0)
        assert self._here(queue, rule) == [False, True, True, True]

    def test_not_where_others_came_meanwhile(
        self, queue: DeviceQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batcher, "_AT_ONCE_S", 60.0)
        assert self._here(queue) == [False, True, False, False]

    def test_not_where_it_would_keep_another_device_idle(
        self, queue: DeviceQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batcher, "_AT_ONCE_S", 0.0)
        queue.is_only = False
        assert not any(self._here(queue))

    def test_not_where_it_may_loop(self, queue: DeviceQueue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batcher, "_AT_ONCE_S", 0.0)
        assert not any(self._here(queue, is_straight=False))

    def test_not_where_it_takes_long(self, queue: DeviceQueue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batcher, "LONGEST_S", 0.5 * SLOW_S)
        assert not any(self._here(queue))


def test_a_run_that_starts_the_next_one_does_not_run_it_inside_itself(queue: DeviceQueue) -> None:
    """As the ops of a DAG do, of which there may be thousands in a row."""
    first, second = Noting(), Noting()
    done: SimpleQueue[Outcome] = SimpleQueue()
    for model in (first, second):
        _run(queue, model)
    following = Request(second, second, ALONE, [ONE], NEVER, done.put, lambda: False)
    _run(queue, first, then=lambda: queue.submit(following))
    assert done.get(timeout=DEADLINE_S).error is None
    assert first.threads[-1] == threading.get_ident() != second.threads[-1]


def test_a_request_whose_deadline_has_passed_is_not_run(queue: DeviceQueue) -> None:
    model = Noting()
    _run(queue, model)
    wait_until(lambda: queue._idle, DEADLINE_S, "the device is idle")
    queue.submit(Request(model, model, ALONE, [ONE], time.monotonic() - 1.0, pytest.fail, lambda: True))
    _run(queue, model)
    assert len(model.threads) == 2


def test_a_device_that_was_woken_while_it_was_lent_serves_what_comes_later(queue: DeviceQueue) -> None:
    model = Noting()
    for _ in range(200):
        wait_until(queue.borrow, DEADLINE_S, "the device is idle")
        request = Request(model, "left", ALONE, [ONE], NEVER, pytest.fail, lambda: True)
        queue.submit(request)
        time.sleep(0)
        queue.cancel(request)
        queue.give_back()
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        queue.submit(Request(model, "new", Rule(batchsize=1), [ONE], NEVER, outcomes.put, lambda: False))
        assert outcomes.get(timeout=DEADLINE_S).error is None


class Noted(Model):
    """Doubles its inputs, and notes how many passes each call was for and how many rows a pass had."""

    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("y",)
    weight_bytes = mapped_bytes = 0
    runs_each = True

    def __init__(self, refuses: float | None = None) -> None:
        self.refuses = refuses
        self.calls: list[int] = []
        self.rows: list[int] = []

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        self.calls.append(1)
        self.rows.append(len(tensors[0]))
        return self._outputs(tensors)

    def run_each(self, tensors: Sequence[Array]) -> list[Array]:
        self.calls.append(len(tensors[0]))
        return self._outputs(tensors)

    def _outputs(self, tensors: Sequence[Array]) -> list[Array]:
        if self.refuses is not None and (tensors[0] == self.refuses).any():
            raise ValueError("refused")
        return [2 * tensors[0]]


class Runs(Lent):
    """RUNs of one loaded model."""

    def __init__(self, model: Model, stored: StoredModel) -> None:
        super().__init__(model)
        self.part = stored.part()
        self.failed: list[tuple[Frame, bytes]] = []
        self.quick = QuickRuns(self, self, Loan(self), self._failed)  # type: ignore[arg-type]

    def _failed(self, frame: Frame, error: bytes, took_s: float) -> None:
        self.failed.append((frame, error))

    def frame(self, tensor: Tensor) -> Frame:
        return self.job("RUN", self.part, 1, *tensor_parts([tensor]))

    def run(self, *tensors: Tensor) -> list[Ran]:
        """What comes of RUNs that were read together, in the order of their ids."""
        for tensor in tensors:
            assert self.quick.run(self.frame(tensor))
        self.quick.settle()
        return [Ran(f[2], *map(int, f[3:7]), parse_tensors(f, 7)[0]) for f in self.answers()]


def _row(n: float) -> Tensor:
    return floats(1, 2, values=[n, -n])


class TestGroups:
    """RUNs that were read together share the call of the model."""

    @pytest.fixture
    def lent(self, model: Make) -> Callable[..., Runs]:
        return lambda noted, **options: Runs(noted, model("Linear", **options))

    def test_those_of_one_form_share_calls_and_each_has_its_own_answer(self, lent: Any) -> None:
        noted = Noted()
        rans = lent(noted).run(*map(_row, range(40)))
        assert noted.calls == [16, 16, 8]
        assert [ran.outputs[0].values for ran in rans] == [[2.0 * n, -2.0 * n] for n in range(40)]
        assert {ran.counters for ran in rans} == {(1, 1, 0)}

    def test_those_of_another_form_do_not(self, lent: Any) -> None:
        noted = Noted()
        tensors = [_row(1), _row(2), floats(2, 2, values=range(4)), _row(3), floats(1, 2, values=[8, 9])]
        rans = lent(noted).run(*tensors)
        assert noted.calls == [2, 1, 2]
        assert [len(ran.outputs[0].values) for ran in rans] == [2, 2, 4, 2, 2]

    def test_a_full_group_is_answered_before_the_rest_is_read(self, lent: Any) -> None:
        one = lent(Noted())
        one.run(*map(_row, range(20)))
        assert one.flushed == [1]

    def test_one_that_fails_fails_alone_and_all_are_counted(self, lent: Any) -> None:
        noted = Noted(refuses=3.0)
        one = lent(noted)
        rans = one.run(*map(_row, range(6)))
        assert [ran.reply for ran in rans].count(OK) == 5 and b"refused" in rans[3].reply
        assert [ran.counters for ran in rans] == [(1, 0, 1) if n == 3 else (1, 1, 0) for n in range(6)]
        assert noted.calls == [6] + [1] * 6
        assert [(frame[1], error) for frame, error in one.failed] == [(b"4", rans[3].reply)]
        assert (one.asked_for.requests, one.asked_for.model.batches, one.asked_for.model.errors) == (6, 6, 1)

    def test_a_batch_size_joins_their_rows_in_one_pass(self, lent: Any) -> None:
        noted = Noted()
        one = lent(noted, batchsize=8)
        rans = one.run(*(floats(2, 1, values=[n, n + 0.5]) for n in range(6)))
        assert noted.rows == [8, 4]
        assert [ran.outputs[0].values for ran in rans] == [[2.0 * n, 2.0 * n + 1.0] for n in range(6)]
        assert [ran.counters for ran in rans] == [(int(n in (0, 4)), 2, 0) for n in range(6)]
        assert not any(ran.duration_us for ran in rans if not ran.calls)
        assert (one.asked_for.requests, one.asked_for.model.batches) == (6, 2)

    def test_what_is_larger_than_the_batch_size_runs_alone(self, lent: Any) -> None:
        noted = Noted()
        lent(noted, batchsize=3).run(*(floats(4, 1, values=range(4)) for _ in range(2)))
        assert noted.rows == [4, 4]

    def test_one_that_is_to_wait_for_a_batch_is_for_the_long_way(self, lent: Any) -> None:
        one = lent(Noted(), batchsize=8, minbatchsize=2)
        assert not one.quick.run(one.frame(_row(1)))


class TestRunEach:
    """What a model of PyTorch gives for several passes at one call is what it gives for each."""

    @pytest.fixture
    def loaded(self, model: Make) -> Callable[[str], Model]:
        return lambda name: Backends(1)["TORCH"].load(model(name).path, Device("CPU"), [], [])

    @pytest.mark.parametrize(
        ("name", "inputs"),
        [
            ("Linear", [np.linspace(-9, 9, 7 * 2 * 3, dtype="f4").reshape(7, 2, 3)]),
            ("Rows", [np.linspace(-9, 9, 5 * 3 * 4, dtype="f4").reshape(5, 3, 4)]),
            ("Sum", [np.linspace(-9, 9, 4, dtype="f4").reshape(4, 1)]),
            ("Tokens", [np.arange(3 * 2 * 5).reshape(3, 2, 5), np.ones((3, 2, 5), "i8")]),
        ],
    )
    def test_to_the_last_bit(self, loaded: Any, name: str, inputs: list[Array]) -> None:
        one = loaded(name)
        assert one.runs_each
        together = one.run_each(inputs)
        alone = [one.run([given[n] for given in inputs]) for n in range(len(inputs[0]))]
        for n, outputs in enumerate(zip(*alone, strict=True)):
            assert together[n].tobytes() == np.stack(outputs).tobytes()

    def test_one_that_fails_fails_all(self, loaded: Any) -> None:
        with pytest.raises(ModelError, match="x is positive"):
            loaded("Positive").run_each([np.array([[-1.0], [1.0]], "f4")])

    @pytest.mark.parametrize("name", ["InPlace", "Steps", "Wide"])
    def test_a_model_that_may_change_itself_has_every_pass_of_its_own(self, loaded: Any, name: str) -> None:
        assert not loaded(name).runs_each


class TestStraight:
    """Whether a model may loop is read from what was loaded."""

    @pytest.mark.parametrize(("name", "is_straight"), [("Linear", True), ("Tokens", True), ("Steps", False)])
    def test_of_torch(self, model: Make, name: str, is_straight: bool) -> None:
        loaded = Backends(1)["TORCH"].load(model(name).path, Device("CPU"), [], [])
        assert loaded.is_straight is is_straight

    @pytest.mark.parametrize("backend", ["ONNX", "OPENVINO"])
    @pytest.mark.parametrize("loops", [False, True])
    def test_of_onnx(self, tmp_path: Path, backend: str, loops: bool) -> None:
        file = tmp_path / "model.onnx"
        file.write_bytes(onnx_loop() if loops else onnx_linear())
        assert Backends(1)[backend].load(file, Device("CPU"), [], []).is_straight is not loops


class TestRuns:
    """RUNs that a worker reads: those of a quick model are answered where they are read."""

    def test_all_of_many_are_answered_once_and_right(self, shard: Shard, model: Make) -> None:
        quick, slow = model("Linear"), model("Steps")
        shard.run(quick, [X])
        started: list[tuple[int, list[float]]] = []
        for n in range(1000):
            started.append((shard.start(quick, [floats(1, 3, values=[n, 0, 0])]), [n + 0.5, 0.25 * n - 2.0]))
            if n % 50 == 0:
                started.append((shard.start(slow, [floats(1, 1, values=[20_000.0])]), [20_000.0]))
        for job, expected in started:
            (output,) = shard.finish(job).outputs
            assert output.values == expected
        assert not [frame for frame in shard.unread if frame[0] == b"DONE"]

    def test_what_is_wrong_with_one_is_told_as_ever(self, shard: Shard, model: Make) -> None:
        quick = model("Linear")
        for _ in range(3):
            assert shard.run(quick, [X]).counters == (1, 1, 0)
        assert b"INPUTS" in shard.run(quick, [X, X]).reply
        assert b"OUTPUTS" in shard.run(quick, [X], outputs=2).reply
        assert b"STRING" in shard.run(quick, [Tensor.from_values("STRING", (1,), [b"x"])]).reply
        failed = shard.run(quick, [floats(1, 2, values=[1, 2])])
        assert b"mat1 and mat2 shapes" in failed.reply and failed.counters == (1, 0, 1)
        assert shard.run(quick, [X]).reply == OK

    def test_what_is_wrong_with_one_of_many_is_its_own(self, shard: Shard, model: Make) -> None:
        picky = model("Positive")
        for _ in range(3):
            shard.run(picky, [floats(1, values=[-1.0])])
        started = [(n, shard.start(picky, [floats(1, values=[float(n)])])) for n in range(-100, 2)]
        for n, job in started:
            ran = shard.finish(job)
            assert ran.outputs[0].values == [float(n)] if n <= 0 else b"x is positive" in ran.reply

    def test_rows_that_cannot_be_told_apart_are_run_apart(self, shard: Shard, model: Make) -> None:
        summed = model("Sum", batchsize=4)
        for _ in range(3):
            shard.run(summed, [X])
        frames = [("JOB", 9000 + n, "RUN", 0, summed.part(), 1, *tensor_parts([X]), "r") for n in range(3)]
        shard.sock.sendall(b"".join(encode(*parts) for parts in frames))
        for n in range(3):
            ran = shard.finish(9000 + n)
            assert ran.outputs[0].values == [6.0] if ran.reply == OK else b"batch size" in ran.reply

    def test_rows_are_samples(self, shard: Shard, model: Make) -> None:
        quick = model("Linear")
        for _ in range(3):
            assert shard.run(quick, [floats(4, 3, values=range(12))]).counters == (1, 4, 0)

    def test_a_model_that_was_unloaded_is_loaded_again(self, shard: Shard, model: Make) -> None:
        quick = model("Linear")
        for _ in range(3):
            shard.send("UNLOAD", quick.digest)
            assert shard.run(quick, [X]).reply == OK
