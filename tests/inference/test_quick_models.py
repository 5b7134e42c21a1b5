"""Models that are done before they could be handed over run on the thread that brings their requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import pytest
from support.waiting import wait_until

from keymiss.backends import Array, Model
from keymiss.channel import NEVER, Tensor
from keymiss.inference.batcher import DeviceQueue, Outcome, Request
from keymiss.inference.policy import Rule

ALONE = Rule()
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
