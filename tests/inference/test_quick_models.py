"""Models that are done before they could be handed over run on the thread that brings their requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import pytest
from inference.shard import Shard, StoredModel, floats
from support.waiting import wait_until

from keymiss.backends import Array, Model
from keymiss.channel import NEVER, Tensor
from keymiss.inference import batcher
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.policy import Rule
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
    asks: bool = False,
    then: Callable[[], object] = lambda: None,
) -> Outcome:
    """Its outcome, once the device has nothing more to do."""
    outcomes: SimpleQueue[Outcome] = SimpleQueue()

    def answer(outcome: Outcome) -> None:
        then()
        outcomes.put(outcome)

    wait_until(lambda: queue._idle, DEADLINE_S, "the device is idle")
    queue.submit(Request(model, model, rule, [ONE], NEVER, answer, lambda: False, asks))
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
    ("rule", "asks"), [(Rule(batchsize=4), False), (Rule(), True)], ids=["batches", "asks"]
)
def test_what_may_be_joined_or_asks_its_shard_never_does(queue: DeviceQueue, rule: Rule, asks: bool) -> None:
    model = Noting()
    for _ in range(3):
        _run(queue, model, rule, asks)
    assert threading.get_ident() not in model.threads


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

    def test_rows_are_samples(self, shard: Shard, model: Make) -> None:
        quick = model("Linear")
        for _ in range(3):
            assert shard.run(quick, [floats(4, 3, values=range(12))]).counters == (1, 4, 0)

    def test_a_model_that_was_unloaded_is_loaded_again(self, shard: Shard, model: Make) -> None:
        quick = model("Linear")
        for _ in range(3):
            shard.send("UNLOAD", quick.digest)
            assert shard.run(quick, [X]).reply == OK
