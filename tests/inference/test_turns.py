"""Shards that want the same model take turns."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue

from hypothesis import given
from hypothesis import strategies as st

from keymiss.backends import Array, Model
from keymiss.channel import NEVER, Tensor
from keymiss.inference.batcher import DeviceQueue
from keymiss.inference.figures import Asked, ModelFigures
from keymiss.inference.policy import Rule
from keymiss.inference.request import Request
from keymiss.inference.turns import Turns

DEADLINE_S = 20.0
ONE = Tensor.from_values("FLOAT", (1, 1), [1.0])
FIGURES = ModelFigures("m", "CPU")


def test_a_shard_alone_is_served_in_the_order_in_which_it_asks() -> None:
    turns = Turns()
    assert [turns.give("a", 5) for _ in range(3)] == [0, 5, 10]


def test_who_asks_little_does_not_wait_for_who_asks_much() -> None:
    turns = Turns()
    many = [turns.give("a", 1) for _ in range(1000)]
    turns.served(many[2])
    assert turns.give("b", 1) == many[2]


def test_idle_time_is_not_saved_up() -> None:
    turns = Turns()
    turns.served([turns.give("a", 1) for _ in range(100)][99])
    assert turns.give("b", 1) == turns.give("a", 1) - 1 == 99


def test_what_was_cancelled_costs_nothing() -> None:
    turns = Turns()
    turns.give("a", 7)
    turns.take_back("a", 7)
    assert turns.give("a", 1) == 0


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), min_size=2, max_size=60))
def test_shards_that_both_wait_get_the_same_but_for_one_request(asked: list[tuple[str, int]]) -> None:
    turns, served = Turns(), {"a": 0, "b": 0}
    line = sorted((turns.give(shard, cost), n, shard, cost) for n, (shard, cost) in enumerate(asked))
    left = {name: sum(shard == name for shard, _ in asked) for name in served}
    for _, _, shard, cost in line:
        if not all(left.values()):
            break
        served[shard] += cost
        left[shard] -= 1
        assert abs(served["a"] - served["b"]) <= 2 * max(cost for _, cost in asked)


class Held(Model):
    """Its passes wait for `go`."""

    inputs: tuple[str, ...] = ("x",)
    outputs: tuple[str, ...] = ("y",)
    weight_bytes = mapped_bytes = 0

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def run(self, tensors: Sequence[Array]) -> list[Array]:
        self.began.release()
        assert self.go.acquire(timeout=DEADLINE_S)
        return list(tensors)


def test_a_question_does_not_wait_for_all_that_another_shard_has_asked() -> None:
    model, queue, answered = Held(), DeviceQueue("CPU"), SimpleQueue[str]()

    def ask(shard: str, name: str) -> None:
        counted = Asked(FIGURES, shard)
        queue.submit(
            Request(
                model, "m", Rule(), [ONE], NEVER, lambda _: answered.put(name), lambda: False, asked=counted
            )
        )

    ask("a", "first")
    assert model.began.acquire(timeout=DEADLINE_S)
    for n in range(4):
        ask("a", f"a{n}")
    for n in range(2):
        ask("b", f"b{n}")
    model.go.release(7)
    order = [answered.get(timeout=DEADLINE_S) for _ in range(7)]
    assert order == ["first", "a0", "b0", "a1", "b1", "a2", "a3"]
