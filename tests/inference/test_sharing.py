"""Passes that share a device, and those that do not."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from inference import small_models
from inference.second_form import ROW, make_second_form
from support.waiting import wait_until

from keymiss.backends import Array, Backends, Device, Model, sharing
from keymiss.backends.sharing import Forms
from keymiss.channel import NEVER, Tensor
from keymiss.inference import batcher
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.costs import RowCosts
from keymiss.inference.policy import Rule
from keymiss.inference.request import Outcome, Request

ALONE = Rule()
ONE = Tensor.from_values("FLOAT", (1, 1), [1.0])
DEADLINE_S = 20.0
MOMENT_S = 0.1  # for what must not happen


class Held(Model):
    """Notes how many passes run at once and with how many cores; each takes as long as `go` says."""

    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("y",)
    weight_bytes = mapped_bytes = 0

    def __init__(self, shares: bool = True) -> None:
        self.shares_device = shares
        self.began: SimpleQueue[tuple[int, int]] = SimpleQueue()  # passes that run now, and cores of this one
        self.go = threading.Semaphore(0)
        self._cores = threading.local()
        self._lock = threading.Lock()
        self._now = 0

    def take_threads(self, threads: int) -> None:
        self._cores.n = threads

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        with self._lock:
            self._now += 1
            self.began.put((self._now, self._cores.n))
        assert self.go.acquire(timeout=DEADLINE_S)
        with self._lock:
            self._now -= 1
        return list(tensors)


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes of these tests compute nothing."""
    monkeypatch.setattr(batcher, "_SHORT_S", 0.0)


@pytest.fixture
def queue() -> DeviceQueue:
    return DeviceQueue("CPU", threads=2)


def _submit(queue: DeviceQueue, model: Model, rule: Rule = ALONE) -> SimpleQueue[Outcome]:
    outcome: SimpleQueue[Outcome] = SimpleQueue()
    queue.submit(Request(model, model, rule, [ONE], NEVER, outcome.put, lambda: False, off_loop=True))
    return outcome


def _ended(*outcomes: SimpleQueue[Outcome]) -> bool:
    return all(outcome.get(timeout=DEADLINE_S).error is None for outcome in outcomes)


def _nothing_begins(model: Held) -> bool:
    return not model.go.acquire(timeout=MOMENT_S) and model.began.empty()


def test_a_pass_alone_has_all_cores(queue: DeviceQueue) -> None:
    model = Held()
    for _ in range(3):
        outcome = _submit(queue, model)
        assert model.began.get(timeout=DEADLINE_S) == (1, 2)
        model.go.release()
        assert _ended(outcome)


def test_passes_run_beside_each_other_once_more_than_one_is_wanted(queue: DeviceQueue) -> None:
    model = Held()
    outcomes = [_submit(queue, model) for _ in range(6)]
    began = [model.began.get(timeout=DEADLINE_S)]
    while len(began) < len(outcomes):
        assert model.began.empty() or began[-1][1] == 1
        if began[-1] != (1, 1):  # the other core is free
            model.go.release()
        began.append(model.began.get(timeout=DEADLINE_S))
    model.go.release(2)
    assert _ended(*outcomes)
    assert (2, 1) in began and max(running for running, _ in began) == 2
    assert all(cores == 1 for running, cores in began if running == 2)


def test_one_that_comes_while_a_pass_has_all_cores_waits_for_its_end(queue: DeviceQueue) -> None:
    model = Held()
    first = _submit(queue, model)
    assert model.began.get(timeout=DEADLINE_S) == (1, 2)
    second = _submit(queue, model)
    assert _nothing_begins(model)
    model.go.release()
    assert model.began.get(timeout=DEADLINE_S) == (1, 1)
    third = _submit(queue, model)
    assert model.began.get(timeout=DEADLINE_S) == (2, 1)
    model.go.release(2)
    assert _ended(first, second, third)


def test_cores_come_back_to_one_that_is_alone_again(queue: DeviceQueue) -> None:
    model = Held()
    outcomes = [_submit(queue, model) for _ in range(3)]
    model.go.release(3)
    assert _ended(*outcomes)
    while not model.began.empty():
        model.began.get()
    model.go.release(3)
    for _ in range(3):
        assert _ended(_submit(queue, model))
    assert [model.began.get() for _ in range(3)][-1] == (1, 2)


def test_a_model_that_cannot_share_never_runs_beside_another(queue: DeviceQueue) -> None:
    shares, alone = Held(), Held(shares=False)
    first = [_submit(queue, shares)]
    assert shares.began.get(timeout=DEADLINE_S) == (1, 2)
    first += [_submit(queue, shares) for _ in range(2)]
    shares.go.release()
    for _ in range(2):
        shares.began.get(timeout=DEADLINE_S)
    others = [_submit(queue, alone) for _ in range(2)]
    shares.go.release()  # one of two still runs
    assert _nothing_begins(alone)
    shares.go.release()
    for _ in others:
        assert alone.began.get(timeout=DEADLINE_S) == (1, 2)
        alone.go.release()
    assert _ended(*first, *others)


def test_a_batch_runs_by_itself_so_that_what_comes_meanwhile_is_joined(queue: DeviceQueue) -> None:
    single, batched = Held(), Held()
    first = [_submit(queue, single) for _ in range(2)]
    single.go.release()
    while single.began.get(timeout=DEADLINE_S) != (1, 1):
        pass
    others = [_submit(queue, batched, Rule(batchsize=8)) for _ in range(2)]
    assert _nothing_begins(batched)
    single.go.release()
    assert batched.began.get(timeout=DEADLINE_S) == (1, 2)
    batched.go.release()
    assert _ended(*first, *others)
    assert batched.began.empty()


def _torch_model(name: str, folder: Path) -> Model:
    file = small_models.write(getattr(small_models, name)(), folder / "model.pt")
    return Backends(2)["TORCH"].load(file, Device("CPU"), (), ())


@pytest.mark.parametrize("name", ["Linear", "Rows", "InPlaceOnItsOwn"])
def test_torch_models_share_where_they_write_into_nothing_that_stays(tmp_path: Path, name: str) -> None:
    model = _torch_model(name, tmp_path)
    assert model.shares_device and model.runs_each


@pytest.mark.parametrize("name", ["Wide", "InPlace", "Counting", "Listing", "Nesting"])
def test_torch_models_that_write_into_what_stays_run_by_themselves(tmp_path: Path, name: str) -> None:
    model = _torch_model(name, tmp_path)
    assert not (model.shares_device or model.runs_each or model.can_let_go)


class TestForms:
    """Of a model: for passes alone, and for those that share the device."""

    def test_a_pass_has_the_form_for_its_threads(self) -> None:
        made: list[int] = []
        forms = Forms("alone", 4, lambda threads: made.append(threads) or f"with {threads}")
        assert forms.can_share
        assert forms.current(may_make=True) == "alone"
        forms.take_threads(2)
        assert forms.current(may_make=False) == "alone" and made == []
        wait_until(lambda: forms.current(may_make=True) == "with 2", DEADLINE_S, "the other form is made")
        assert forms.count == 2 and forms.current(may_make=False) == "with 2"
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(forms.current(may_make=True)))
        thread.start()
        thread.join(DEADLINE_S)
        assert elsewhere == ["alone"]
        forms.take_threads(4)
        assert forms.current(may_make=True) == "alone"
        assert made == [2]

    def test_one_that_cannot_be_made_is_told_and_done_without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(threads: int) -> str:
            raise RuntimeError("no memory")

        told: SimpleQueue[str] = SimpleQueue()
        monkeypatch.setattr(sharing.log, "warning", lambda line, *values: told.put(line % values))
        forms = Forms("alone", 2, fail)
        forms.take_threads(1)
        assert forms.current(may_make=True) == "alone"
        assert "no memory" in told.get(timeout=DEADLINE_S)
        assert forms.current(may_make=True) == "alone" and forms.count == 1

    @pytest.mark.parametrize("backend", ["ONNX", "OPENVINO"])
    def test_both_give_the_same(self, tmp_path: Path, backend: str) -> None:
        file = small_models.write_onnx_linear(tmp_path / "model.onnx")
        model = Backends(2)[backend].load(file, Device("CPU"), (), ())
        assert model.shares_device
        (expected,) = model.run([ROW])
        make_second_form(model)
        (result,) = model.run([ROW])
        np.testing.assert_allclose(result, expected)


class TestRowCosts:
    """How many rows to join: the fewest of the cheapest."""

    def test_every_size_is_tried(self) -> None:
        costs = RowCosts()
        tried = []
        for _ in range(4):
            tried.append(costs.best(8))
            costs.learn(tried[-1], tried[-1] * 10, 1.0)
        assert tried == [8, 4, 2, 1]

    @pytest.mark.parametrize(
        ("per_token", "best"),
        [
            ({1: 8.0, 2: 4.0, 4: 2.0, 8: 1.0}, 8),
            ({1: 1.0, 2: 1.0, 4: 1.0, 8: 0.99}, 1),
            ({1: 3.0, 2: 1.0, 4: 1.0, 8: 2.0}, 2),
        ],
    )
    def test_the_fewest_of_the_cheapest_are_joined(self, per_token: dict[int, float], best: int) -> None:
        costs = RowCosts()
        for rows, cost in per_token.items():
            costs.learn(rows, rows * 10, cost * rows * 10)
        assert costs.best(8) == best
        assert costs.best(1) == 1

    def test_what_was_dear_under_other_load_is_tried_again(self) -> None:
        costs = RowCosts()
        costs.learn(1, 10, 1.0)
        costs.learn(2, 20, 20.0)
        for _ in range(1000):
            rows = costs.best(2)
            if rows == 2:
                break
            costs.learn(rows, rows * 10, rows * 1.0)
        assert rows == 2
